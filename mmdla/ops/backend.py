"""Chooses the implementation of an operation, at each call, by its tensors.

``reference``: the equations in plain PyTorch, as the layers write them; for channels_last maps of the
base forms, torch.compile, torch.export, torch.jit.trace, ONNX, torch.func and forward-mode
derivatives. ``folded``: PyTorch, with all factors
per sample and channel folded into depthwise kernels. ``kernels``: C++ for the CPU, once
``python -m mmdla.ops.build`` has built them; under ``use('kernels')`` torch.compile and torch.export
keep each as one node.
``triton``: for CUDA, where ``python -m mmdla.doctor`` found it correct and fastest (:mod:`.tuned`), or
with MMDLA_TRITON=1 in the environment; MMDLA_TRITON=0 forbids it.

Other implementations than the reference read the weights of norms and convolutions and do not call
these modules. Where one has a hook, or a forward of its own, it is called: its layer runs the plain
definition.
"""
import hashlib
import os
import struct
import warnings
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Optional, Union

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual
from torch.func import debug_unwrap

from mmdla.errors import choose

from .tuned import fastest

NAMES = ('reference', 'folded', 'kernels', 'triton')
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
CSRC = Path(__file__).parent / 'csrc'
_only: ContextVar[Optional[str]] = ContextVar('implementation', default=None)


@contextmanager
def use(name: str):
    """A context in which this thread's operations use this implementation, to compare or to measure.

    Where it does not serve a call's tensors, the reference runs; without built kernels, 'kernels'
    means 'folded'. torch.compile keeps the choice of the call that it compiles.

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
    from .registration import register
    register()
    return torch.ops.mmdla


@torch.compiler.assume_constant_result
def has_kernels() -> bool:
    return kernels() is not None


@torch.compiler.assume_constant_result
def exports_onnx() -> bool:
    """Whether this call is traced by either exporter of torch.onnx."""
    return torch.onnx.is_in_onnx_export()


@torch.compiler.assume_constant_result
def asked_for() -> Optional[str]:
    only = _only.get()
    return 'reference' if only is not None and exports_onnx() else only


def wanted() -> Optional[str]:
    """The only implementation that may run, if there is one.

    torch.compile fuses the reference to what is faster than the kernels, which it cannot join with a
    block's norm (docs/performance.md), and an exported program should need no library of ours: both
    take the kernels under ``use('kernels')`` alone.
    """
    only = asked_for()
    return 'reference' if only is None and torch.compiler.is_compiling() else only


@lru_cache(None)
def _triton_asked() -> Optional[bool]:
    asked = os.environ.get('MMDLA_TRITON')
    return asked == '1' and has_triton() if asked in ('0', '1') else None


def has_triton() -> bool:
    """Whether Triton 3.3 or newer is installed, whose tuples our kernels need (torch 2.7 brings it)."""
    if find_spec('triton') is None:
        return False
    major, minor = version('triton').split('.')[:2]
    return (int(major), int(minor)) >= (3, 3)


@torch.compiler.assume_constant_result
def triton_asked() -> Optional[bool]:
    """Whether MMDLA_TRITON=1 is set, and Triton is installed; None where it is neither 0 nor 1."""
    return _triton_asked()


def triton_wanted(device: torch.device) -> bool:
    """Whether Triton's operations run on a CUDA device: as MMDLA_TRITON says, else as the doctor found.

    What the doctor found does not hold for torch.compile, which it times without Triton's operations.
    """
    asked = triton_asked()
    if asked is None:
        return not torch.compiler.is_compiling() and fastest(device) == 'triton'
    return asked


def is_transformed(*tensors: Tensor) -> bool:
    """Whether PyTorch must see each of its own operations on these tensors.

    For torch.jit.trace, torch.func, forward-mode derivatives, or a subclass of Tensor.
    """
    if torch.compiler.is_compiling():
        return False
    return torch.jit.is_tracing() or any(
        type(t) not in (Tensor, torch.nn.Parameter) or debug_unwrap(t) is not t
        or unpack_dual(t).tangent is not None for t in tensors)


def means_are_fast(*tensors: Tensor) -> bool:
    """Whether the C++ operations on channel means take these tensors."""
    return (wanted() in (None, 'kernels') and has_kernels() and not is_transformed(*tensors)
            and all(t.device.type == 'cpu' and t.dtype in DTYPES and t.numel() for t in tensors))


def implementation(*maps: Tensor) -> str:
    """The fastest implementation for these maps, (B, C, H, W) each."""
    first, only = maps[0], wanted()
    if only == 'reference' or first.dtype not in DTYPES or not first.numel() or is_transformed(*maps):
        return 'reference'
    if any(m.dtype != first.dtype or m.device != first.device for m in maps):
        return 'reference'
    if only == 'triton' or (only is None and first.is_cuda and triton_wanted(first.device)):
        return 'triton'
    if first.device.type != 'cpu':
        return 'reference'
    fast = only != 'folded' and has_kernels()
    if all(m.is_contiguous() for m in maps):
        return 'kernels' if fast else 'folded'
    nhwc = fast and all(m.is_contiguous(memory_format=torch.channels_last) for m in maps)
    return 'kernels' if nhwc else 'reference'


def needs_grad(*tensors: Optional[Tensor]) -> bool:
    """Whether autograd records operations on these tensors; where not, they may run in place.

    torch.compile decides about memory itself.
    """
    return torch.compiler.is_compiling() or (
        torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors))
