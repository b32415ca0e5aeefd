from .add_relu_mean import add_relu, add_relu_mean
from .backend import use
from .base import base_attention, base_is_fast
from .light import light_attention, light_is_fast
from .maps import gap, scale, weighted_sum
from .means import (
    channel_convolution,
    dsu,
    dsu_is_fast,
    dsu_update,
    dsu_update_is_fast,
    head_scores,
    repeat_over_heads,
    self_score,
)
from .norm import FoldedNorm, runs_forward_of

__all__ = [
    'FoldedNorm', 'add_relu', 'add_relu_mean', 'base_attention', 'base_is_fast',
    'channel_convolution', 'dsu', 'dsu_is_fast', 'dsu_update', 'dsu_update_is_fast', 'gap',
    'head_scores', 'light_attention', 'light_is_fast', 'repeat_over_heads', 'runs_forward_of', 'scale',
    'self_score', 'use', 'weighted_sum'
]
