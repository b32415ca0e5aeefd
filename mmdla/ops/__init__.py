from .backend import use
from .base import base_attention
from .light import light_attention, mix
from .means import channel_convolution, gates
from .norm import FoldedNorm
from .residual import add_relu, global_average, residual
from .weighted_sum import per_channel, weighted_sum

__all__ = [
    'FoldedNorm', 'add_relu', 'base_attention', 'channel_convolution', 'gates', 'global_average',
    'light_attention', 'mix', 'per_channel', 'residual', 'use', 'weighted_sum'
]
