"""Time and memory of the backbones, as ratios to the plain ResNet of the same depth.

    python tools/analysis/benchmark.py                                   # 2 minutes on 2 CPU cores
    python tools/analysis/benchmark.py --task detection --models dla_l50 --batch 2
    python tools/analysis/benchmark.py --task cifar --models mrla_l110 dla_l110 dla_b110 --mode train
    python tools/analysis/benchmark.py --device cuda --amp --channels-last --batch 128

Models take turns, one step each per round, so that what slows the machine down meets all of them;
given are medians over the rounds and, of the ratios within a round, the median and the quartiles.
A training step is forward and backward of the backbone alone, without optimizer. Memory: on CUDA
the peak of a step, on the CPU what a training step saves for its backward pass.

classification: 224 x 224 pixels, batch 4. detection: 512 x 672, batch 1, all four outputs, BN frozen
(norm_eval). cifar: 32 x 32, batch 16.
"""
import argparse
import datetime
import json
import logging
import platform
import re
import statistics
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Dict, List, Optional

from mmdla import __version__, ops
from mmdla.doctor.environment import cpu_name
from mmdla.engine import cli
from mmdla.engine.memory import saved_bytes, suited
from mmdla.errors import UserError, reason
from mmdla.files import check_output, write_text
from mmdla.models import DIAResNet, DLAResNet, MRLAResNet, ResNet
from mmdla.ops.backend import NAMES, kernels, triton_wanted

import mmcv
import mmengine
import torch
from torch import Tensor, nn

SYSTEMS = dict(
    resnet=(ResNet, {}),
    dia=(DIAResNet, {}),
    mrla_l=(MRLAResNet, dict(variant='light')),
    mrla_b=(MRLAResNet, dict(variant='base')),
    dla_l=(DLAResNet, dict(variant='light')),
    dla_b=(DLAResNet, dict(variant='base')))
TASKS = dict(
    classification=dict(shape=(224, 224), batch=4, models=['mrla_l50', 'dla_l50'], cfg={}),
    detection=dict(shape=(512, 672), batch=1, models=['dla_l50'],
                   cfg=dict(out_indices=(0, 1, 2, 3), norm_eval=True)),
    cifar=dict(shape=(32, 32), batch=16, models=['dla_l110'], cfg=dict(trunk='cifar')))


def split_name(name: str) -> tuple:
    """'dla_l50' to ('dla_l', 50)."""
    match = re.fullmatch(r'([a-z_]+)(\d+)', name)
    if match is None or match[1] not in SYSTEMS:
        raise UserError(f'model {name!r} is not known: give one of {", ".join(SYSTEMS)} and a depth, '
                        'such as dla_l50.')
    return match[1], int(match[2])


def build(name: str, task: str) -> nn.Module:
    system, depth = split_name(name)
    cls, kwargs = SYSTEMS[system]
    kwargs = {**kwargs, **TASKS[task]['cfg']}
    if task == 'cifar':
        if system.startswith(('dla', 'dia')):
            kwargs['context_unit'] = dict(reduction=4)
        if system.startswith(('dla', 'mrla')):
            kwargs['dim_per_head'] = 32
    return cls(depth, **kwargs)


class Step:
    """One step of a model on the same images."""

    def __init__(self, model: nn.Module, images: Tensor, train: bool, amp: bool) -> None:
        self.model, self.images, self.train, self.amp = model.train(train), images, train, amp
        self.cuda = images.is_cuda

    def __call__(self) -> None:
        with torch.autocast(self.images.device.type, torch.bfloat16, self.amp), \
                torch.set_grad_enabled(self.train):
            outputs = self.model(self.images)
            loss = sum(out.float().mean() for out in outputs)
        if self.train:
            loss.backward()
            self.model.zero_grad(set_to_none=True)

    def timed(self) -> float:
        """Seconds."""
        if self.cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        self()
        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def memory(self) -> Optional[float]:
        """MiB: the peak on CUDA, else what a training step saves; None for inference on the CPU."""
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
            self()
            return torch.cuda.max_memory_allocated() / 2**20
        if not self.train:
            return None
        with torch.autocast('cpu', torch.bfloat16, self.amp):
            return saved_bytes(self.model, self.images) / 2**20


def measure(args: argparse.Namespace, names: List[str], mode: str) -> List[dict]:
    """One row per model; the first model is what ratios refer to."""
    layout = torch.channels_last if args.channels_last else torch.contiguous_format
    images = torch.randn(args.batch, 3, *args.shape, device=args.device).to(memory_format=layout)
    steps: Dict[str, Step] = {}
    for name in names:
        model = build(name, args.task).to(args.device).to(memory_format=layout)
        if args.compile:
            model = torch.compile(model)
        steps[name] = Step(model, images, mode == 'train', args.amp)
        for _ in range(2):
            steps[name]()
    times = {name: [] for name in names}
    for _ in range(args.rounds):
        for name, step in steps.items():
            times[name].append(step.timed())
    first = times[names[0]]
    first_memory = None
    rows = []
    for name in names:
        ratios = [a / b for a, b in zip(times[name], first)]
        low, median, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        for other in steps.values():
            other.model.to('cpu')
        steps[name].model.to(args.device)
        memory = steps[name].memory()
        first_memory = first_memory or memory
        seconds = statistics.median(times[name])
        rows.append(dict(
            model=name, mode=mode, ms=seconds * 1e3, images_per_s=args.batch / seconds, ratio=median,
            ratio_quartiles=[low, high], memory_mib=memory,
            memory_ratio=memory and memory / first_memory))
    return rows


def machine(args: argparse.Namespace) -> dict:
    device = torch.cuda.get_device_name() if args.device == 'cuda' else cpu_name()
    return dict(
        date=datetime.date.today().isoformat(), device=device, threads=torch.get_num_threads(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(), cpu_kernels=kernels() is not None,
        triton=args.device == 'cuda' and triton_wanted(torch.device('cuda', 0)),
        python=platform.python_version(), torch=torch.__version__, mmcv=mmcv.__version__,
        mmengine=mmengine.__version__, mmdla=__version__)


def table(rows: List[dict]) -> str:
    lines = [f'{"mode":6} {"model":10} {"ms":>9} {"img/s":>8} {"ratio":>6} {"quartiles":>13} '
             f'{"MiB":>9} {"ratio":>6}']
    for row in rows:
        low, high = row['ratio_quartiles']
        lines.append(f'{row["mode"]:6} {row["model"]:10} {row["ms"]:9.1f} {row["images_per_s"]:8.1f} '
                     f'{row["ratio"]:6.2f} {low:6.2f}-{high:6.2f} {number(row["memory_mib"], 9, 1)} '
                     f'{number(row["memory_ratio"], 6, 2)}')
    return '\n'.join(lines)


def number(value: Optional[float], width: int, digits: int) -> str:
    return ' ' * (width - 1) + '-' if value is None else f'{value:{width}.{digits}f}'


def runs_in(path: str) -> List[dict]:
    """Those in a JSON file that may be there.

    Raises:
        UserError: If it holds something else, or cannot be written.
    """
    if not check_output(path).exists():
        return []
    try:
        runs = json.loads(Path(path).read_text())
    except (OSError, RecursionError, ValueError) as error:
        raise UserError(f'{path} cannot be read ({reason(error)}): name another file.') from error
    if not isinstance(runs, list):
        raise UserError(f'{path} holds no list of runs: name another file.')
    return runs


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', nargs='+', metavar='NAME',
                        help=f'{", ".join(SYSTEMS)} and a depth, such as dla_l50')
    parser.add_argument('--task', choices=TASKS, default='classification')
    parser.add_argument('--mode', choices=('eval', 'train', 'both'), default='both')
    parser.add_argument('--batch', type=int)
    parser.add_argument('--shape', type=int, nargs=2, metavar=('H', 'W'))
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--amp', action='store_true', help='bfloat16 autocast')
    parser.add_argument('--channels-last', action='store_true')
    parser.add_argument('--compile', action='store_true', help='torch.compile the backbones')
    parser.add_argument('--implementation', choices=NAMES,
                        help='let the operations use at most this one, to compare')
    parser.add_argument('--json', metavar='OUT', help='add the results to this file')
    args = parser.parse_args()
    task = TASKS[args.task]
    args.models = args.models or task['models']
    args.batch = task['batch'] if args.batch is None else args.batch
    args.shape = args.shape or task['shape']
    if args.rounds < 1 or args.batch < 1 or min(args.shape) < 1:
        parser.error('--rounds, --batch and --shape must be 1 or more')
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda: this torch sees no CUDA device')
    if args.implementation == 'triton' and args.device != 'cuda':
        parser.error('--implementation triton is for --device cuda')
    if args.implementation == 'kernels' and kernels() is None:
        parser.error('--implementation kernels: build them first, python -m mmdla.ops.build')
    return args


def main() -> None:
    args = parse_args()
    logging.disable(logging.INFO)
    for name in args.models:
        split_name(name)
    if args.json:
        runs_in(args.json)
    host = machine(args)
    print(f'{host["device"]}, {host["threads"]} threads, torch {host["torch"]}, C++ kernels '
          f'{"built" if host["cpu_kernels"] else "not built (python -m mmdla.ops.build)"}')
    print(f'{args.task}, {args.batch} x 3 x {args.shape[0]} x {args.shape[1]}, {args.rounds} rounds; '
          'ratios to the plain ResNet')
    rows = []
    with ops.use(args.implementation) if args.implementation else nullcontext():
        for depth in sorted({split_name(name)[1] for name in args.models}):
            plain = f'resnet{depth}'
            names = [name for name in args.models if split_name(name)[1] == depth and name != plain]
            for mode in ('eval', 'train') if args.mode == 'both' else (args.mode, ):
                with suited(f'a batch of {args.batch} x 3 x {args.shape[0]} x {args.shape[1]}'):
                    found = measure(args, [plain, *names], mode)
                print(table(found) if not rows else '\n'.join(table(found).splitlines()[1:]), flush=True)
                rows += found
    if args.json:
        settings = {key: getattr(args, key) for key in (
            'task', 'batch', 'shape', 'rounds', 'amp', 'channels_last', 'compile', 'implementation')}
        runs = [*runs_in(args.json), dict(machine=host, settings=settings, rows=rows)]
        write_text(args.json, json.dumps(runs, indent=1) + '\n')


if __name__ == '__main__':
    cli.run(main)
