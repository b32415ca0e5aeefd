"""Cross-layer attention backbones (DLA, MRLA) for OpenMMLab."""
from mmdla import openmp

openmp.spin_briefly()  # before the next line loads torch

from mmdla.hosts import checkpoints, mmcv_ext  # noqa: E402
from mmdla.version import __version__  # noqa: E402

mmcv_ext.register()
checkpoints.register()

__all__ = ['__version__']
