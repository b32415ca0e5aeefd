"""Random configurations of the CPU kernels against their definitions, also under sanitizers.

    python tools/analysis/fuzz_kernels.py --count 300               # values and gradients, a minute
    python tools/analysis/fuzz_kernels.py --count 300 --sanitize    # the same, memory checked: minutes
    python tools/analysis/fuzz_kernels.py --sanitize --planted      # must fail: a bound is wrong
    python tools/analysis/fuzz_kernels.py --seed 3 --number 17      # one configuration again

Each configuration (``mmdla/engine/fuzz.py``) runs with the kernels, by the definition in the same dtype,
and by the definition in float64, to which all are compared. Memory that an operation leaves unwritten is
NaN.

``--sanitize`` builds the kernels with AddressSanitizer and UBSan in a temporary folder and runs the
configurations with them in a process of its own. It needs g++ with libasan and libubsan.
"""
import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import copytree
from typing import Dict, List
from unittest.mock import patch

from mmdla import ops
from mmdla.engine import cli
from mmdla.engine.fuzz import Case, case_of
from mmdla.errors import UserError
from mmdla.ops import build
from mmdla.ops.backend import CSRC, kernels, library

import torch
from torch import Tensor

# of the kernels; twice the error of the definition in the same dtype is accepted, too
TOLERANCES = {torch.float64: 1e-11, torch.float32: 2e-5, torch.bfloat16: 0.03, torch.float16: 4e-3}
SANITIZERS = ['-fsanitize=address,undefined', '-fno-sanitize=vptr', '-fno-omit-frame-pointer', '-O1',
              '-g1']  # the lines only: -g doubles the time of the build
RUNTIMES = ('libasan.so', 'libubsan.so', 'libstdc++.so.6')  # the last for exceptions
SPEAKS = ('ERROR: AddressSanitizer', 'runtime error:')
# the last, incomplete vector of a map is read and written whole
PLANTED = ('vectors.h', 'f(whole, count - whole)', 'f(whole, int64_t(0))')
LINES, WIDTH = 30, 200  # of a sanitizer's report


def errors(case: Case) -> List[tuple]:
    """Of each tensor: its name, the kernels' error, and the definition's in the same dtype."""
    grads = incoming(case)
    exact, plain = (joined(case.run('definition', is_exact, grads)) for is_exact in (True, False))
    with ops.use('kernels'):
        found = joined(case.run('fast', grads=grads))
    assert found.keys() == exact.keys() == plain.keys()
    return [(name, *(error(case, name, tensors[name], exact[name]) for tensors in (found, plain)))
            for name in exact]


def joined(run: tuple) -> Dict[str, Tensor]:
    outputs, others, _ = run
    return {**outputs, **others}


def incoming(case: Case) -> Dict[str, Tensor]:
    """Gradients of some of the outputs; 0 where rounding may decide on which side of a ReLU's kink."""
    outputs, _, arguments = case.run('definition', exact=True)
    generator = torch.Generator().manual_seed(len(case.name))
    grads = {}
    for name, out in outputs.items():
        grad = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(case.dtype).double()
        if name in arguments:
            u = arguments[name].abs()
            grad[u < 32 * torch.finfo(case.dtype).eps * u.max()] = 0
        if torch.rand((), generator=generator) < 0.8:
            grads[name] = grad
    return grads


def error(case: Case, name: str, found: Tensor, exact: Tensor) -> float:
    """The largest difference, relative to the largest value.

    A gradient is a sum over n elements of a map, which may be nearly 0 by chance: relative to at least
    a tenth of the square root of n.
    """
    if not exact.isfinite().all() or found.shape != exact.shape or not found.isfinite().all():
        return float('inf')
    scale = max(float(exact.abs().max()), torch.finfo(case.dtype).tiny)
    if name in case.gradients():
        scale = max(scale, (case.size() / exact.numel()) ** 0.5 / 10)
    return float((found - exact).abs().max()) / scale


def fuzz(numbers: range, seed: int) -> bool:
    """Run configurations and print the worst errors; whether all are within the tolerances."""
    torch.use_deterministic_algorithms(True, warn_only=True)  # fills new memory with NaN
    worst, wrong, fast = {}, [], 0
    for number in numbers:
        case = case_of(seed, number)
        fast += case.by_kernels()
        for name, own, plain in errors(case):
            floor = torch.finfo(case.dtype).eps
            ratio = own / max(plain, floor)
            line = worst.setdefault(case.dtype, [0.0, 0.0, 0.0, ''])
            line[:2] = max(line[0], own), max(line[1], plain)
            if ratio > line[2]:
                line[2:] = ratio, f'{name} of {case.name}'
            if not own <= max(TOLERANCES[case.dtype], 2 * plain):
                wrong.append(f'{name} is wrong by {own:.1e}, the definition by {plain:.1e}: {case.name}')
    print(f'{len(numbers)} configurations of seed {seed}, {fast} by the kernels; errors relative to '
          'each tensor\'s largest value')
    print(f'{"dtype":9} {"kernels":>8} {"definition":>10} {"ratio":>6}  largest ratio')
    for dtype, (own, plain, ratio, where) in sorted(worst.items(), key=str):
        print(f'{str(dtype).split(".")[1]:9} {own:8.1e} {plain:10.1e} {ratio:6.1f}  {where}')
    for line in wrong:
        print(f'WRONG: {line}')
    return not wrong


def runtimes(compiler: List[str]) -> List[str]:
    """Paths of the libraries that a sanitized one needs before all others."""
    found = []
    for name in RUNTIMES:
        done = subprocess.run([*compiler, f'-print-file-name={name}'], capture_output=True, text=True)
        if not os.path.isabs(path := done.stdout.strip()):
            raise UserError(f'{compiler[0]} has no {name}, which --sanitize needs: install g++ with its '
                            'sanitizers (libasan, libubsan), and unset CXX if it names another.')
        found.append(path)
    return found


def build_sanitized(cache: Path, compiler: List[str], planted: bool) -> None:
    """Build the kernels with sanitizers, in the cache folder where this checkout looks for its own."""
    target = cache / 'mmdla' / library().name
    target.parent.mkdir()
    sources = CSRC
    if planted:
        sources = Path(copytree(CSRC, cache / 'csrc'))
        name, right, wrong = PLANTED
        text = (sources / name).read_text()
        if right not in text:
            raise UserError(f'{name} has no {right!r} any more: choose another bound for --planted.')
        (sources / name).write_text(text.replace(right, wrong))
    with patch.multiple(build, FLAGS=[*build.FLAGS, *SANITIZERS], CSRC=sources):
        try:
            build.compile_to(target, compiler, cache / 'build.log')
        except UserError as error:
            log = (cache / 'build.log').read_text(errors='replace')
            first = next((line for line in log.splitlines() if 'error' in line), 'no error in its log')
            raise UserError(f'{compiler[0]} cannot build with sanitizers: {first}') from error


def fuzz_sanitized(arguments: List[str], planted: bool) -> bool:
    """Run this tool with sanitized kernels; whether no sanitizer speaks and all is right."""
    compiler = build.compiler()
    preload = runtimes(compiler)
    with tempfile.TemporaryDirectory() as cache:
        build_sanitized(Path(cache), compiler, planted)
        print('built with sanitizers', flush=True)
        done = subprocess.run(
            [sys.executable, __file__, *arguments], stderr=subprocess.PIPE, text=True, errors='replace',
            env={**os.environ, 'XDG_CACHE_HOME': cache, 'LD_PRELOAD': ':'.join(preload),
                 'ASAN_OPTIONS': 'detect_leaks=0:protect_shadow_gap=0',
                 'UBSAN_OPTIONS': 'halt_on_error=1:print_stacktrace=1'})
    lines = done.stderr.splitlines()
    begin = next((n for n, line in enumerate(lines) if any(word in line for word in SPEAKS)), None)
    if begin is not None:
        print('\n'.join(line[:WIDTH] for line in lines[begin:begin + LINES]))
    elif done.returncode:
        print(done.stderr[-4000:])
    else:
        print('no sanitizer spoke')
    return not done.returncode and begin is None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--count', type=int, default=300, help='configurations (default: 300)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--number', type=int, help='this configuration only')
    parser.add_argument('--sanitize', action='store_true', help='with AddressSanitizer and UBSan')
    parser.add_argument('--planted', action='store_true', help='with a wrong bound, to see it caught')
    args = parser.parse_args()
    if args.count < 1:
        parser.error('--count must be 1 or more')
    if args.planted and not args.sanitize:
        parser.error('--planted is for --sanitize')
    numbers = range(args.count) if args.number is None else range(args.number, args.number + 1)
    if args.sanitize:
        chosen = [] if args.number is None else ['--number', str(args.number)]
        right = fuzz_sanitized(
            ['--count', str(args.count), '--seed', str(args.seed), *chosen], args.planted)
    elif kernels() is None:
        raise UserError('the C++ kernels are not built: run python -m mmdla.ops.build.')
    else:
        right = fuzz(numbers, args.seed)
    sys.exit(not right)


if __name__ == '__main__':
    cli.run(main)
