"""Builds the CPU kernels of layer attention: ``python -m mmdla.ops.build``.

Needs a C++ compiler that knows GCC's vectors (g++ or clang++), and takes a minute. Without the
kernels the same operations run on PyTorch's own, slower. A library serves this source, this torch
version and this kind of CPU; for another it is not looked at.
"""
import logging
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import torch

from mmdla.errors import UserError, run
from mmdla.ops.backend import SOURCE, library

INSTRUCTIONS = dict(
    AVX512=['-march=skylake-avx512', '-mprefer-vector-width=512'], AVX2=['-march=haswell'])


def build() -> Path:
    """Compile the kernels and return the library's path.

    Raises:
        UserError: If there is no compiler, or it fails.
    """
    # what the machine has no GPU compiler for, and the like
    logging.getLogger('torch').setLevel(logging.ERROR)
    from setuptools import Distribution
    from setuptools.errors import CompileError, LinkError
    from torch.utils.cpp_extension import BuildExtension, CppExtension

    flags = ['-O3', '-g0', '-std=c++17', '-fopenmp', '-fno-math-errno', '-fno-trapping-math']
    flags += INSTRUCTIONS.get(torch.backends.cpu.get_cpu_capability(), [])
    target = library()
    extension = CppExtension(
        target.stem, [str(SOURCE)], extra_compile_args=flags, extra_link_args=['-fopenmp'])
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        command = BuildExtension(
            Distribution(dict(ext_modules=[extension])), use_ninja=False, no_python_abi_suffix=True)
        command.build_lib = command.build_temp = scratch
        command.finalize_options()
        try:
            command.run()
            target.parent.mkdir(exist_ok=True)
            # a rename is whole or not at all, for whoever loads it meanwhile
            partial = target.with_suffix(f'.{Path(scratch).name}')
            shutil.copy(next(Path(scratch).rglob('*.so')), partial)
            partial.rename(target)
        except (CompileError, LinkError, RuntimeError, OSError) as error:
            raise UserError(f'the CPU kernels cannot be built ({error}): install g++ (apt install '
                            'g++) or do without, on slower operations of PyTorch.') from error
    return target


def main() -> None:
    if sys.argv[1:]:
        print(__doc__)
    elif library().exists():
        print(f'{library()} is there')
    else:
        print(f'built {build()}')


if __name__ == '__main__':
    run(main)
