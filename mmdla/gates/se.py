"""Squeeze and excitation (CVPR 2018)."""
from mmpretrain.models.utils import SELayer

from mmdla.registry import MODELS

from .bottleneck import bottleneck


@MODELS.register_module()
class SE(SELayer):
    """``u * sigmoid(W2 ReLU(W1 GAP(u)))``: squeeze and excitation (CVPR 2018), by mmpretrain.

    2 C^2 / r weights without biases, the form that the DLA paper's counts fit.

    Args:
        in_channels (int): C.
        reduction (int): r; the bottleneck has C // r channels.

    Raises:
        UserError: If r exceeds C.
    """

    def __init__(self, in_channels: int, reduction: int = 16) -> None:
        super().__init__(in_channels, bottleneck(in_channels, reduction), bias=False)
        for layer in (self.conv1, self.conv2):
            layer.conv.reset_parameters()  # starts as nn.Linear does
