"""Workarounds for differences between versions of the hosts (mmengine, mmdet, mmpretrain)."""
import io
from contextlib import nullcontext, redirect_stdout
from importlib import import_module

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

multiarray = np._core.multiarray if hasattr(np, '_core') else np.core.multiarray
HISTORY = [
    HistoryBuffer, getattr, slice, np.ndarray, np.dtype, multiarray._reconstruct, multiarray.scalar,
    *(type(np.dtype(name)) for name in ('float64', 'float32', 'int64', 'int32', 'bool'))
]


def mmengine_checkpoints():
    """A context in which ``torch.load`` reads mmengine's own checkpoints.

    Since torch 2.6 it refuses classes that are not on its list of safe globals, and the original
    mmengine (0.10.7) does not add those of the logging history that it saves; OneDL's does.
    """
    if hasattr(torch.serialization, 'safe_globals'):  # since torch 2.5
        known = torch.serialization.get_safe_globals()  # which the context would remove at its end
        return torch.serialization.safe_globals([entry for entry in HISTORY if entry not in known])
    return nullcontext()


def import_datasets(host: str) -> None:
    """Import mmdet's or mmpretrain's data sets; OneDL's print what they miss of another product."""
    with redirect_stdout(io.StringIO()):
        import_module(f'{host}.datasets')
