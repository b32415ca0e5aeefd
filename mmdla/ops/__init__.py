from .backend import use
from .base import base_attention
from .light import light_attention, mix
from .means import channel_convolution, gates, head_scores, self_score
from .norm import FoldedNorm
from .residual import add_relu, global_average, residual
from .weighted_sum import per_channel, weighted_sum

__all__ = [
    'FoldedNorm', 'add_relu', 'base_attention', 'channel_convolution', 'gates', 'global_average',
    'head_scores', 'light_attention', 'mix', 'per_channel', 'residual', 'self_score', 'use',
    'weighted_sum'
]
