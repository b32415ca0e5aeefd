"""Reading checkpoint files without running what is in them.

A PyTorch checkpoint is a pickle, a program that can do anything on the machine that reads it. With
``weights_only=True`` PyTorch runs none of it but what rebuilds tensors and plain values; mmengine falls
back to running all of it, so that :func:`register` puts the functions of this file in place of
mmengine's.
"""
import ast
import hashlib
import io
import os
import re
import threading
import zipfile
from collections import OrderedDict
from contextlib import contextmanager
from pickle import UnpicklingError
from typing import IO, Callable, Iterator, Union

import numpy as np
import safetensors.torch
import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.fileio import get_file_backend
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import (
    get_deprecated_model_names,
    get_external_models,
    get_mmcls_models,
    get_torchvision_models,
)
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

from mmdla.errors import UserError, is_full, reason

META = 'mmdla'
NUMBERS = re.compile(r'[biuf][1248]|\?')  # codes of NumPy's types of numbers
LOCK = threading.RLock()


def trusted() -> bool:
    """Whether MMDLA_TRUST_CHECKPOINT=1 is set: checkpoints may run code."""
    return os.environ.get('MMDLA_TRUST_CHECKPOINT', '0') == '1'


def stands_for(*names: str) -> Callable:
    """Let a class or function take the place of ``module.name`` in a file."""

    def register(stand_in: Callable) -> Callable:
        STAND_INS.update({name: stand_in for name in names})
        return stand_in

    return register


# A file gets none of NumPy's or mmengine's own classes, whose state it could forge: it fills these, and
# what they hold is checked and turned into the real thing afterwards.
STAND_INS = {}


@stands_for('numpy.dtype')
class Type:
    """A type of numbers."""

    def __init__(self, code: str, *_) -> None:
        if not NUMBERS.fullmatch(code):
            raise UnpicklingError(f'GLOBAL numpy.dtype of {code!r}, which is no number')
        self.real = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        self.real = self.real.newbyteorder(state[1] if state[1] in ('<', '>') else '=')


@stands_for('numpy.ndarray')
class Array:
    """An array of numbers."""

    real = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, fortran, content = state
        flat = np.frombuffer(content, kind.real)
        self.real = flat.reshape(shape, order='F' if fortran else 'C').copy()


@stands_for('numpy.core.multiarray._reconstruct', 'numpy._core.multiarray._reconstruct')
def array(*_) -> Array:
    return Array()


@stands_for('numpy.core.multiarray.scalar', 'numpy._core.multiarray.scalar')
def scalar(kind: Type, content: bytes):
    value, = np.frombuffer(content, kind.real)
    return value


@stands_for('mmengine.logging.history_buffer.HistoryBuffer')
class History:
    """A value's log."""

    def __setstate__(self, state: dict) -> None:
        self.state = state

    @property
    def real(self) -> HistoryBuffer:
        logs, counts = (self.state[name].real for name in ('_log_history', '_count_history'))
        return HistoryBuffer(logs, counts, int(self.state['max_length']))


@stands_for('mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler')
class OneCycle:
    """The owner of two functions."""


@stands_for('builtins.getattr')
def attribute(owner, name: str):
    """The part of ``getattr`` that checkpoints of mmengine need; HistoryBuffer has its own four."""
    if owner is History and name in ('min', 'max', 'current', 'mean'):
        return None
    if owner is OneCycle and name in ('_annealing_cos', '_annealing_linear'):
        return getattr(OneCycleParamScheduler, name)
    raise UnpicklingError(f'GLOBAL builtins.getattr of {name!r}')


def settled(value):
    """What a file holds, with the real things for their stand-ins."""
    if isinstance(value, (Array, History)):
        return value.real
    if isinstance(value, dict):
        for key, child in value.items():
            value[key] = settled(child)
    elif isinstance(value, list):
        value[:] = map(settled, value)
    elif type(value) is tuple:
        return tuple(map(settled, value))
    return value


@contextmanager
def only_stand_ins() -> Iterator[None]:
    """Let ``torch.load`` use the stand-ins, beside what the process allows under other names."""
    with LOCK:
        before = get_safe_globals()
        names = [entry[1] if isinstance(entry, tuple) else f'{entry.__module__}.{entry.__qualname__}'
                 for entry in before]
        kept = [entry for entry, name in zip(before, names) if name not in STAND_INS]
        clear_safe_globals()
        add_safe_globals([*kept, *((stand_in, name) for name, stand_in in STAND_INS.items())])
        try:
            yield
        finally:
            clear_safe_globals()
            add_safe_globals(before)


def load(file: Union[str, IO[bytes]], map_location='cpu', name: str = '', mmap: bool = False):
    """What a checkpoint file holds: tensors, plain values and mmengine's logging history.

    Args:
        file (str or binary file): A PyTorch checkpoint, or the path of a ``.safetensors`` file.
        map_location: As in ``torch.load``.
        name (str): To call it in an error. Default: its path.
        mmap (bool): Whether to leave the tensors on the disk until they are used.

    Raises:
        UserError: If the file is missing, broken, or would run code.
    """
    name = name or str(file)
    if isinstance(file, str) and not os.path.isfile(file):
        raise UserError(f'checkpoint {name} does not exist: check the path.')
    try:
        mmap = mmap and zipfile.is_zipfile(file)  # which files of torch before 1.6 are not
        if isinstance(file, str) and file.endswith('.safetensors'):
            return load_safetensors(file, map_location)
        if trusted():
            return torch.load(file, map_location=map_location, weights_only=False, mmap=mmap)
        with only_stand_ins():
            checkpoint = settled(torch.load(file, map_location=map_location, weights_only=True,
                                            mmap=mmap))
    except Exception as error:
        wanted = re.search(r'GLOBAL (\S+)', str(error)) if isinstance(error, UnpicklingError) else None
        if wanted:
            raise UserError(
                f'checkpoint {name} is refused: it would run {wanted[1]}, which no weights need; if you '
                'made it yourself, set MMDLA_TRUST_CHECKPOINT=1.') from error
        raise UserError(f'checkpoint {name} cannot be read ({reason(error)}): check that it is a '
                        'checkpoint, whole and readable.') from error
    if isinstance(checkpoint, dict) and isinstance(checkpoint.get('meta'), dict):
        checkpoint['meta'].pop('config', None)  # of mmcv 1, which mmengine would run on resuming
    return checkpoint


def load_safetensors(path: str, map_location='cpu') -> dict:
    """The tensors of a safetensors file; with its ``meta`` if this package wrote it."""
    device = str(map_location) if isinstance(map_location, (str, torch.device)) else 'cpu'
    with safetensors.safe_open(path, framework='pt', device=device) as file:
        tensors = OrderedDict((key, file.get_tensor(key)) for key in file.keys())
        meta = (file.metadata() or {}).get(META)
    return tensors if meta is None else dict(meta=ast.literal_eval(meta), state_dict=tensors)


def as_bytes(checkpoint: dict, suffix: str) -> bytes:
    """A checkpoint file's content, the same for the same checkpoint.

    Args:
        checkpoint (dict): ``state_dict`` of tensors, and ``meta`` of plain values.
        suffix (str): '.safetensors', or another for PyTorch's format.
    """
    if suffix == '.safetensors':
        tensors = {name: value.contiguous() for name, value in checkpoint['state_dict'].items()}
        # one entry: the format does not keep the order of several
        return safetensors.torch.save(tensors, {META: repr(checkpoint['meta'])})
    buffer = io.BytesIO()  # in a file of its own, torch would write the file's name too
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


def load_from_http(url: str, map_location=None):
    """A checkpoint from the web, kept in ``torch.hub``'s cache; one process a machine fetches it."""
    name, suffix = os.path.splitext(os.path.basename(url.split('?')[0]))
    if not re.search(r'-[0-9a-f]{8}', name):  # files of one name in different places
        name += f'-{hashlib.sha256(url.encode()).hexdigest()[:8]}'
    path = os.path.join(torch.hub.get_dir(), 'checkpoints', name + suffix)
    if get_dist_info()[0] == 0 or int(os.environ.get('LOCAL_RANK', '1')) == 0:
        if not os.path.isfile(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            fetch(url, path)
    barrier()
    return load(path, map_location, name=url)


def fetch(url: str, path: str) -> None:
    """Download a file.

    Raises:
        UserError: If that is not possible, with the ways to do without a connection.
    """
    try:
        torch.hub.download_url_to_file(url, path)
    except Exception as error:
        if is_full(error):
            raise
        name = os.path.basename(url.split('?')[0])
        raise UserError(
            f'checkpoint {url} cannot be fetched ({reason(error)}): fetch it elsewhere and put it '
            f'to {path}, or name its place, as the start of a backbone with --cfg-options '
            f'model.backbone.init_cfg.checkpoint=/path/to/{name}.') from error


def load_from_storage(url: str, map_location=None):
    """A checkpoint from a storage service that mmengine's file backends know."""
    service = url.split(':')[0] if url.count(':') > 1 else 'petrel'
    try:
        content = get_file_backend(url, backend_args=dict(backend=service)).get(url)
    except Exception as error:
        raise UserError(f'checkpoint {url} cannot be fetched ({reason(error)}): download it and name '
                        'the file.') from error
    return load(io.BytesIO(content), map_location, name=url)


def load_from_torchvision(name: str, map_location=None):
    """``torchvision://resnet50`` and the like."""
    return load_from_http(get_torchvision_models()[name.split('://')[1]], map_location)


def load_from_openmmlab(name: str, map_location=None):
    """``open-mmlab://NAME`` of mmengine's list."""
    name = name.split('://')[1]
    url = get_external_models()[get_deprecated_model_names().get(name, name)]
    if '://' in url:
        return load_from_http(url, map_location)
    home = os.environ.get('MMENGINE_HOME') or os.path.join(
        os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'mmengine')
    return load(os.path.join(home, url), map_location)


def load_from_mmcls(name: str, map_location=None):
    """``mmcls://NAME`` of mmengine's list: the backbone's tensors."""
    checkpoint = load_from_http(get_mmcls_models()[name.split('://')[1]], map_location)
    tensors = checkpoint.get('state_dict', checkpoint)
    return dict(state_dict=OrderedDict((key.removeprefix('backbone.'), value)
                                       for key, value in tensors.items() if key.startswith('backbone.')))


def load_from_local(path: str, map_location=None):
    return load(os.path.expanduser(path), map_location)


def register() -> None:
    """Have mmengine read checkpoints with :func:`load`, for all that runs in this process."""
    for prefixes, loader in {
            '': load_from_local,
            ('http://', 'https://'): load_from_http,
            (r'(\S+\:)?s3://', r'(\S+\:)?petrel://', 'pavi://'): load_from_storage,
            ('torchvision://', 'modelzoo://'): load_from_torchvision,
            ('open-mmlab://', 'openmmlab://'): load_from_openmmlab,
            'mmcls://': load_from_mmcls,
    }.items():
        CheckpointLoader.register_scheme(list(prefixes) if isinstance(prefixes, tuple) else prefixes,
                                         loader, force=True)
