"""Recurrent layer aggregation (RLA-Net, NeurIPS 2021)."""
from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from mmdla.registry import MODELS

from .interaction import Interaction


@MODELS.register_module()
class RLA(Interaction):
    """A hidden map h alongside the trunk, which every block reads and updates (RLA_g).

    The block's first convolution reads ``[x, h]``. With u, its residual branch, ``h <- conv3x3(tanh(
    BN(h + conv1x1(u))))``, both convolutions shared by the stage, the BN each layer's own. A strided
    block averages h first. The state is h, (B, k, H, W), which goes from stage to stage. Without
    ``hidden_output`` no layer reads the h after the last one: it is not computed, and the norm that it
    alone uses is not trained.

    Args:
        channels, num_layers, norm_cfg: See :class:`Interaction`.
        hidden_channels (int): k.
        hidden_output (bool): Whether the network's last output is ``[x, ReLU(BN(h))]``, with k
            channels more: for a classifier. Without it, as in a detector, a checkpoint's tensors of
            that norm are ignored.
    """

    joins = True
    not_compared = ('hidden_output', )

    def __init__(self, channels: int, num_layers: int, norm_cfg: dict, hidden_channels: int = 32,
                 hidden_output: bool = False) -> None:
        super().__init__(channels, num_layers, norm_cfg)
        self.extra_channels = hidden_channels
        self.hidden_output = hidden_output
        self.from_branch = nn.Conv2d(channels, hidden_channels, 1, bias=False)
        self.recurrent = nn.Conv2d(hidden_channels, hidden_channels, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(
            build_norm_layer(norm_cfg, hidden_channels)[1] for _ in range(num_layers))
        self.unread: Optional[int] = None
        if not hidden_output:
            self.ignored_keys = ('output.', )

    def last_stage(self) -> None:
        if self.hidden_output:
            norm = build_norm_layer(self.norm_cfg, self.extra_channels)[1]
            self.output = nn.Sequential(norm, nn.ReLU())
            self.extra_outputs = self.extra_channels
            return
        self.unread = self.num_layers - 1
        self.norms[-1].requires_grad_(False)
        if self.num_layers == 1:
            self.requires_grad_(False)

    def initial_state(self, x: Tensor, h: Optional[Tensor]) -> Tensor:
        return x.new_zeros(x.shape[0], self.extra_channels, *x.shape[2:]) if h is None else h

    def block_input(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.cat([x, h], 1)

    def join(self, index: int, branch: Tensor, h: Tensor) -> Tuple[Tensor, Tensor]:
        if index != self.unread:
            stride = -(-h.shape[2] // branch.shape[2]), -(-h.shape[3] // branch.shape[3])
            if stride != (1, 1):
                h = F.avg_pool2d(h, stride, ceil_mode=True)
            h = self.recurrent(torch.tanh(self.norms[index](h + self.from_branch(branch))))
        return branch, h

    def finish(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.cat([x, self.output(h)], 1) if self.extra_outputs else x
