"""A layer-attention form, a context unit and a channel attention for any backbone of mmdla."""
import torch
from mmcv.cnn import build_norm_layer
from torch import nn

from mmdla.attention import ContextUnit, Interaction
from mmdla.registry import MODELS


@MODELS.register_module()
class MovingAverage(Interaction):
    """``x_l <- x_l + norm(m_l)`` with ``m_l = a * m_{l-1} + (1 - a) * x_l``, a learned per channel."""

    def __init__(self, channels, num_layers, norm_cfg):
        super().__init__(channels, num_layers, norm_cfg)
        self.logit = nn.Parameter(torch.zeros(channels))
        self.norms = nn.ModuleList(build_norm_layer(norm_cfg, channels)[1] for _ in range(num_layers))

    def forward(self, index, x, o, m):
        a = self.logit.sigmoid()[:, None, None]
        m = x if m is None else a * m + (1 - a) * x
        return x + self.norms[index](m), m


@MODELS.register_module()
class GRU(ContextUnit):
    """torch.nn.GRUCell; its hidden state is the context, and multiplies the features."""

    def __init__(self, channels):
        super().__init__(channels)
        self.cell = nn.GRUCell(channels, channels)

    def forward(self, y, c=None):
        c = torch.zeros_like(y) if c is None else c.expand_as(y)
        return self.cell(y.flatten(0, -2), c.flatten(0, -2)).view_as(y)


@MODELS.register_module()
class ChannelScale(nn.Module):
    """``a * u``, a learned per channel, on the residual branch u (B, C, H, W)."""

    def __init__(self, in_channels):
        super().__init__()
        self.a = nn.Parameter(torch.ones(in_channels, 1, 1))

    def forward(self, u):
        return self.a * u
