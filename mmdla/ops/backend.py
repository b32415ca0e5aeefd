"""Chooses the implementation of an operation, at each call, by its tensors.

``reference``: the equations in plain PyTorch, as the layers write them; for channels_last maps,
tracing, torch.compile and export. ``folded``: PyTorch, with all factors per sample and channel
folded into depthwise kernels. ``kernels``: C++ for the CPU, once ``python -m mmdla.ops.build`` has
built them. ``triton``: for CUDA, with MMDLA_TRITON=1 in the environment.

Other implementations than the reference read the weights of norms and convolutions and do not call
these modules: forward hooks on the norms and convolutions of layer attention run under
``use('reference')`` only, those on its 1-D convolutions never.
"""
import hashlib
import os
import struct
import warnings
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Optional, Union

import torch
from torch import Tensor
from torch.autograd import forward_ad

from mmdla.errors import choose

NAMES = ('reference', 'folded', 'kernels', 'triton')
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
CSRC = Path(__file__).parent / 'csrc'
_only: ContextVar[Optional[str]] = ContextVar('implementation', default=None)


@contextmanager
def use(name: str):
    """A context in which this thread's operations use this implementation, to compare or to measure.

    Where it does not serve a call's tensors, the reference runs; without built kernels, 'kernels'
    means 'folded'.

    Args:
        name (str): 'reference'; 'folded' or 'kernels' for the CPU; 'triton'.

    Raises:
        UserError: For another name.
    """
    before = _only.set(choose('implementation', name, {key: key for key in NAMES}))
    try:
        yield
    finally:
        _only.reset(before)


def library() -> Path:
    """Path of the C++ kernels, built or not, for their source, this torch version and this CPU.

    In the user's cache folder, ``$XDG_CACHE_HOME/mmdla`` or ``~/.cache/mmdla``, since the package
    may be installed in a read-only folder.
    """
    sources = sorted([*CSRC.glob('*.cpp'), *CSRC.glob('*.h')])
    source = hashlib.sha1(b''.join(path.read_bytes() for path in sources)).hexdigest()[:8]
    capability = torch.backends.cpu.get_cpu_capability().lower().replace(' ', '_')
    cache = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return Path(cache) / 'mmdla' / f'layer_attention_{source}_torch{torch.__version__}_{capability}.so'


def is_cut(path: Union[str, Path]) -> bool:
    """Whether a library ends before its section headers, which are the last part of an ELF file.

    To load such a one may end the process (SIGBUS). What is no ELF file at all is left to the loader.
    """
    with open(path, 'rb') as file:
        header = file.read(64)
    if not header.startswith(b'\x7fELF'):
        return not header
    if len(header) < 64:
        return True
    begin, size, count = *struct.unpack_from('=Q', header, 40), *struct.unpack_from('=HH', header, 58)
    return os.path.getsize(path) < begin + size * count


@lru_cache(None)
def kernels():
    """The C++ operations, or None where they are not built or cannot be loaded."""
    path = library()
    if not os.path.exists(path):  # unlike Path.exists, no error for a folder without permission
        return None
    try:
        if is_cut(path):
            raise OSError('a part of it is missing')
        torch.ops.load_library(str(path))
    except OSError as error:
        warnings.warn(f'{path} cannot be loaded ({error}): layer attention runs without it; delete it '
                      'and run python -m mmdla.ops.build.', stacklevel=2)
        return None
    return torch.ops.mmdla


@lru_cache(None)
def triton_wanted() -> bool:
    """Whether MMDLA_TRITON=1 is set, and Triton is installed."""
    return os.environ.get('MMDLA_TRITON', '0') == '1' and find_spec('triton') is not None


def is_transformed() -> bool:
    """Whether PyTorch records or transforms each operation, which ours would hide from it.

    In torch.compile, torch.jit.trace, export, dispatch modes (FLOP counters), torch.func and
    forward-mode derivatives.
    """
    return (torch.compiler.is_compiling() or torch.jit.is_tracing()
            or torch._C._len_torch_dispatch_stack() > 0
            or torch._C._functorch.peek_interpreter_stack() is not None
            or forward_ad._current_level >= 0)


def means_are_fast(*tensors: Tensor) -> bool:
    """Whether the C++ operations on channel means take these tensors."""
    dtype = tensors[0].dtype
    return (not is_transformed() and _only.get() in (None, 'kernels')
            and dtype in (torch.float32, torch.float64) and kernels() is not None
            and all(t.device.type == 'cpu' and t.dtype == dtype and t.numel() for t in tensors))


def implementation(*maps: Tensor) -> str:
    """The fastest implementation for these maps, (B, C, H, W) each."""
    first = maps[0]
    # in this order: torch.compile stops at is_transformed(), before a context variable, which it lacks
    if (is_transformed() or (only := _only.get()) == 'reference' or type(first) is not Tensor
            or first.dtype not in DTYPES or not first.numel()):
        return 'reference'
    if any(m.dtype != first.dtype or m.device != first.device for m in maps):
        return 'reference'
    if only == 'triton' or (only is None and first.is_cuda and triton_wanted()):
        return 'triton'
    if first.device.type != 'cpu' or not all(m.is_contiguous() for m in maps):
        return 'reference'
    return 'kernels' if kernels() is not None and only != 'folded' else 'folded'


def needs_grad(*tensors: Optional[Tensor]) -> bool:
    """Whether autograd records operations on these tensors; where not, they may run in place."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
