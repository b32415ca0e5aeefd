from .context_unit import DSU, build_context_unit
from .interaction import DLALight, MRLALight
from .mrla import LightLayerAttention, kernel_size

__all__ = ['DSU', 'DLALight', 'LightLayerAttention', 'MRLALight', 'build_context_unit', 'kernel_size']
