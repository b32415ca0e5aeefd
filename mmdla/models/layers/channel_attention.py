"""Gates on the channels of a residual branch u (B, C, H, W): SE and ECA."""
from typing import Union

from mmpretrain.models.utils import SELayer
from torch import Tensor, nn

from mmdla.errors import UserError
from mmdla.ops import gap, scale
from mmdla.registry import MODELS

from .context_unit import bottleneck
from .mrla import kernel_size as automatic_kernel_size


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


@MODELS.register_module()
class ECA(nn.Module):
    """``u * sigmoid(conv1d(GAP(u)))`` over the sequence of the C means (ECA-Net, CVPR 2020, Eq. 7).

    Args:
        in_channels (int): C.
        kernel_size (int | str): Odd width of the convolution, by default 'auto': that of the
            paper's Eq. 12, 3 for 64 channels, 5 for 128 to 1024, 7 for 2048.

    Raises:
        UserError: If the width is even.
    """

    def __init__(self, in_channels: int, kernel_size: Union[int, str] = 'auto') -> None:
        super().__init__()
        if kernel_size == 'auto':
            kernel_size = automatic_kernel_size(in_channels)
        if not isinstance(kernel_size, int) or kernel_size < 1 or kernel_size % 2 == 0:
            raise UserError(f'kernel_size of ECA must be an odd width or \'auto\'; got {kernel_size!r} '
                            '(one for each stage: per_stage=dict(kernel_size=(3, 3, 5, 7))).')
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        return scale(u, self.conv(gap(u)[:, None])[:, 0].sigmoid())
