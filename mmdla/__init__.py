"""Cross-layer attention backbones (DLA, MRLA) for OpenMMLab."""
from mmdla.ops import mmcv_ext
from mmdla.version import __version__

mmcv_ext.register()

__all__ = ['__version__']
