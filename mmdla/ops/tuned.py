"""What ``python -m mmdla.doctor`` found to be fastest on a GPU, in a small file.

``$XDG_CACHE_HOME/mmdla/fastest.json`` or ``~/.cache/mmdla/fastest.json``: a dict from GPU, torch,
Triton and a hash of the Triton kernels' source to the name of an implementation. Whatever cannot be
read counts as not known.
"""
import hashlib
import json
import os
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Optional

import torch

from mmdla.errors import choose
from mmdla.files import write_text

CHOICES = ('reference', 'triton')
SOURCE = Path(__file__).parent / 'triton_kernels'


def path() -> Path:
    cache = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return Path(cache) / 'mmdla' / 'fastest.json'


def triton_version() -> Optional[str]:
    """None where Triton is not installed or cannot be imported."""
    if find_spec('triton') is None:
        return None
    try:
        import triton
        return triton.__version__
    except Exception:
        return None


def source() -> str:
    """A hash of the Triton kernels' source."""
    files = sorted(SOURCE.glob('*.py'))
    return hashlib.sha1(b''.join(file.read_bytes() for file in files)).hexdigest()[:8]


def key(device: torch.device) -> str:
    """What a choice on a CUDA device holds for."""
    gpu = torch.cuda.get_device_name(device)
    return f'{gpu}, torch {torch.__version__}, triton {triton_version()}, source {source()}'


def choices() -> dict:
    """All that the file holds; nothing where it is missing or broken."""
    try:
        found = json.loads(path().read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def keep(device: torch.device, name: str) -> None:
    """Note the fastest correct implementation on a CUDA device, beside what is known of others.

    Raises:
        UserError: If the file cannot be written, or for a name that is not one of ``CHOICES``.
    """
    choose('implementation', name, {choice: choice for choice in CHOICES})
    write_text(path(), json.dumps({**choices(), key(device): name}, indent=1) + '\n')
    fastest.cache_clear()


@lru_cache(None)
def fastest(device: torch.device) -> Optional[str]:
    """'triton' or 'reference', the fastest correct implementation on a device; None if not known.

    The file is read once for each device of a process.
    """
    if device.type != 'cuda' or triton_version() is None:
        return None
    found = choices().get(key(device))
    return found if found in CHOICES else None


def advice(device: torch.device) -> Optional[str]:
    """One sentence for the log of a run on a device where nothing is known; None elsewhere."""
    if (device.type != 'cuda' or triton_version() is None or fastest(device)
            or os.environ.get('MMDLA_TRITON') in ('0', '1')):
        return None
    return (f'python -m mmdla.doctor, a few minutes once on this {torch.cuda.get_device_name(device)}, '
            'may make layer attention faster: it has not been run here with these versions.')
