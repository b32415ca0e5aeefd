"""Recurrent layer aggregation (RLA-Net, NeurIPS 2021)."""
from typing import Tuple

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from .interaction import Residual


class RLA(Residual):
    """A hidden map h beside the trunk, which every block reads and adds to.

    The block's first convolution reads ``[x, h]``. With u, its residual branch, ``x <- ReLU(u +
    shortcut)`` and ``h <- conv3x3(tanh(BN(h + conv1x1(u))))``, both convolutions shared by the
    stage, the BN each layer's own. A strided stage averages h first. The state is h,
    (B, k, H, W), which goes from stage to stage.

    Args:
        channels (int): C of the stage.
        num_layers (int): Blocks in the stage.
        norm_cfg (dict): The trunk's norm.
        hidden_channels (int): k.
        stride (int): Of the stage's first block.
        last (bool): Whether nobody reads the h after the stage's last layer: it is not computed
            then, and what serves it alone, that layer's norm, is not trained.
    """

    def __init__(self, channels: int, num_layers: int, norm_cfg: dict, hidden_channels: int,
                 stride: int, last: bool) -> None:
        super().__init__(channels, num_layers, norm_cfg)
        self.stride = stride
        self.from_branch = nn.Conv2d(channels, hidden_channels, 1, bias=False)
        self.recurrent = nn.Conv2d(hidden_channels, hidden_channels, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(
            build_norm_layer(norm_cfg, hidden_channels)[1] for _ in range(num_layers))
        self.unread = num_layers - 1 if last else None
        if last:
            self.norms[-1].requires_grad_(False)
        if last and num_layers == 1:
            self.requires_grad_(False)

    def read(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.cat([x, h], 1)

    def forward(self, index: int, branch: Tensor, shortcut: Tensor, h: Tensor) -> Tuple[Tensor, Tensor]:
        if index != self.unread:
            if index == 0 and self.stride > 1:
                h = F.avg_pool2d(h, self.stride, ceil_mode=True)
            h = self.recurrent(torch.tanh(self.norms[index](h + self.from_branch(branch))))
        return F.relu(branch + shortcut), h
