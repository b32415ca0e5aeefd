"""Builds the CPU kernels of layer attention: ``python -m mmdla.ops.build``.

Needs only a C++ compiler with GCC's vector extensions (g++, clang++, or the one in CXX), and takes
a minute on two cores. The library goes to the user's cache folder, ``$XDG_CACHE_HOME/mmdla`` or
``~/.cache/mmdla``, together with ``build.log``, the compiler's output. Its name holds a hash of the
source, the torch version and the CPU's instruction set, so that another one is never loaded. Without
the kernels the operations run in PyTorch, slower.
"""
import errno
import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Dict, Iterator, List, Optional

import torch

from mmdla.errors import UserError, run
from mmdla.ops.backend import CSRC, is_cut, kernels, library

# compiled in this order, one per core at a time: the slowest to compile first
SOURCES = ('light_nhwc_backward.cpp', 'map_operations.cpp', 'base_operations.cpp', 'dsu_operations.cpp',
           'mean_operations.cpp', 'light_nhwc.cpp', 'light.cpp', 'base.cpp', 'add_relu_mean_nhwc.cpp',
           'add_relu_mean.cpp', 'means.cpp')
FLAGS = ['-O3', '-g0', '-std=c++17', '-fPIC', '-fopenmp', '-fno-math-errno', '-fno-trapping-math',
         '-Wall', '-Wextra', '-Wno-psabi']  # about vector arguments, which stay inside the library
INSTRUCTIONS = dict(
    AVX512=['-march=skylake-avx512', '-mprefer-vector-width=512'], AVX2=['-march=haswell'])


def build() -> Optional[float]:
    """Compile the kernels to ``library()``.

    Returns:
        float: Seconds it took; None if they were there, or if another process built them meanwhile.

    Raises:
        UserError: If there is no compiler, it fails, or the cache folder cannot be written to.
    """
    target, begun = library(), time.monotonic()
    cache = target.parent
    if not cache.is_absolute():
        raise not_built(f'the cache folder {cache} is no absolute path', 'set XDG_CACHE_HOME to one')
    try:
        if is_there(target):
            return None
        command = compiler()
        cache.mkdir(parents=True, exist_ok=True)
        with alone(cache), tempfile.TemporaryDirectory(prefix='scratch_', dir=cache) as scratch:
            if is_there(target):
                return None
            compile_to(Path(scratch) / target.name, command, cache / 'build.log')
            # atomic: another process loads the whole library or none
            os.replace(Path(scratch) / target.name, target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise not_built(f'the disk of {cache} is full', 'free 100 MB') from error
        raise not_built(f'{cache} cannot be written to ({error.strerror or error})',
                        'set XDG_CACHE_HOME to a writable folder') from error
    return time.monotonic() - begun


def is_there(target: Path) -> bool:
    """Whether a library has been built, and is whole."""
    return target.exists() and not is_cut(target)


def compiler() -> List[str]:
    """The command of the C++ compiler."""
    wanted = shlex.split(os.environ.get('CXX', ''))
    if wanted and shutil.which(wanted[0]):
        return wanted
    if wanted:
        raise not_built(f'the compiler {wanted[0]}, which CXX names, was not found',
                        'install it, or unset CXX')
    for name in ('g++', 'clang++'):
        if shutil.which(name):
            return [name]
    raise not_built('no C++ compiler was found', 'install g++ (apt install g++)')


@contextmanager
def alone(cache: Path) -> Iterator[None]:
    """Hold the folder's build lock, which the system releases if this process is killed.

    Network file systems may have no locks: then several processes build at a time, each in a scratch
    folder of its own.
    """
    with open(cache / 'build.lock', 'w') as lock:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left_over in cache.glob('scratch_*'):
                # a young one may be in use by another machine, which does not see our lock
                if time.time() - left_over.stat().st_mtime > 3600:
                    shutil.rmtree(left_over, ignore_errors=True)
        yield


def compile_to(target: Path, command: List[str], log: Path) -> None:
    """Compile and link in the target's folder.

    Raises:
        UserError: If the compiler fails.
        OSError: If the disk is full, or the log cannot be written.
    """
    root = Path(torch.__file__).parent
    include, scratch = root / 'include', target.parent
    flags = [*FLAGS, *INSTRUCTIONS.get(torch.backends.cpu.get_cpu_capability(), []),
             f'-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}',
             '-isystem', str(include), '-isystem', str(include / 'torch' / 'csrc' / 'api' / 'include')]
    objects = [str(scratch / f'{name}.o') for name in SOURCES]
    with open(log, 'w') as out:
        built = run_all([[*command, *flags, '-c', str(CSRC / name), '-o', made]
                         for name, made in zip(SOURCES, objects)], scratch, out)
        built = built and run_all([[*command, '-shared', '-fopenmp', *objects, f'-L{root / "lib"}',
                                    '-ltorch', '-ltorch_cpu', '-lc10', '-o', str(target)]], scratch, out)
    if not built:
        free = shutil.disk_usage(scratch).free
        if free < 2**20 or 'No space left on device' in log.read_text(errors='replace'):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        named = ', which CXX names,' if os.environ.get('CXX') else ''
        raise not_built(f'{command[0]}{named} failed', f'see {log} for its errors')


def run_all(commands: List[List[str]], scratch: Path, log: IO[str]) -> bool:
    """Run commands in parallel, one per core, with their output in the log.

    If one fails, or on an interrupt, the others are killed.

    Returns:
        bool: Whether all succeeded.
    """
    environment = {**os.environ, 'LC_ALL': 'C', 'TMPDIR': str(scratch)}
    waiting, running = list(commands), []
    try:
        while waiting or running:
            while waiting and len(running) < (os.cpu_count() or 1):
                print(shlex.join(waiting[0]), file=log, flush=True)
                running.append(start(waiting.pop(0), log, environment))
            time.sleep(0.02)
            if any(process.poll() for process in running):
                return False
            running = [process for process in running if process.returncode is None]
        return True
    finally:
        for process in running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def start(command: List[str], log: IO[str], environment: Dict[str, str]) -> subprocess.Popen:
    try:
        # in a process group of its own, to kill it together with its children
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                env=environment, start_new_session=True)
    except OSError as error:
        raise not_built(f'{command[0]} cannot be started ({error.strerror})',
                        'set CXX to a compiler that can') from error


def not_built(why: str, what_to_do: str) -> UserError:
    return UserError(f'the CPU kernels are not built, because {why}. To build them, {what_to_do}; '
                     'without them PyTorch\'s own operations run, which are slower.')


def main() -> None:
    if sys.argv[1:]:
        print(__doc__)
        return
    seconds = build()
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        try:
            kernels()
        except UserWarning as warning:
            raise UserError(f'the CPU kernels are built, but {warning}') from warning
    print(f'{library()} is there' if seconds is None else f'built {library()} ({seconds:.0f} s)')


if __name__ == '__main__':
    run(main)
