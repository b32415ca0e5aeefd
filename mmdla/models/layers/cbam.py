"""Convolutional block attention (CBAM, ECCV 2018)."""
import torch
from mmcv.cnn import build_norm_layer
from mmengine.model import constant_init, kaiming_init
from torch import Tensor, nn

from mmdla.ops import gap, scale
from mmdla.registry import MODELS

from .context_unit import bottleneck


@MODELS.register_module()
class CBAM(nn.Module):
    """A gate on the channels of the residual branch u and then one on its positions.

    ``u <- u * sigmoid(MLP(mean(u)) + MLP(max(u)))`` over the positions (Eq. 2), then
    ``u * sigmoid(BN(conv7x7([max(u), mean(u)])))`` over the channels (Eq. 3). The BN is of the
    authors' code; its gamma starts at 0, so that the second gate starts at 1/2.

    Args:
        in_channels (int): C.
        reduction (int): r; the perceptron has C // r hidden channels.
        norm_cfg (dict): Of the one-channel norm.

    Raises:
        UserError: If r exceeds C.
    """

    def __init__(self,
                 in_channels: int,
                 reduction: int = 16,
                 norm_cfg: dict = dict(type='BN', momentum=0.01)) -> None:
        super().__init__()
        hidden = bottleneck(in_channels, reduction)
        self.mlp = nn.Sequential(
            nn.Linear(in_channels, hidden), nn.ReLU(), nn.Linear(hidden, in_channels))
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.norm = build_norm_layer(norm_cfg, 1)[1]
        for layer in self.mlp[::2]:
            nn.init.zeros_(layer.bias)
        kaiming_init(self.conv)
        constant_init(self.norm, 0)

    def forward(self, u: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        u = scale(u, (self.mlp(gap(u)) + self.mlp(u.amax((2, 3)))).sigmoid())
        descriptor = torch.cat([u.amax(1, keepdim=True), u.mean(1, keepdim=True)], 1)
        return u * self.norm(self.conv(descriptor)).sigmoid()
