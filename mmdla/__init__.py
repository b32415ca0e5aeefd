"""Cross-layer attention backbones (DLA, MRLA) for OpenMMLab."""
from mmdla import compat
from mmdla.ops import mmcv_ext
from mmdla.version import __version__

compat.apply()
mmcv_ext.register()

__all__ = ['__version__']
