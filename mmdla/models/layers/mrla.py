"""Multi-head recurrent layer attention, light (MRLA-L).

*Cross-Layer Retrospective Retrieving via Layer Attention*, ICLR 2023.
"""
import math

import torch
from torch import Tensor, nn

from mmdla.errors import UserError


def global_average(x: Tensor) -> Tensor:
    """GAP: (B, C, H, W) to (B, C)."""
    return x.mean((2, 3))


def per_channel(scale: Tensor) -> Tensor:
    """(..., C) to (..., C, 1, 1), to multiply a feature map."""
    return scale[..., None, None]


def kernel_size(channels: int) -> int:
    """Odd width of the 1-D convolutions that make queries and keys.

    3 for 64 channels, 5 for 128 to 1024, 7 for 2048 (the rule of ECA-Net).
    """
    t = int(abs((math.log2(channels) + 1) / 2))
    return t if t % 2 else t + 1


class LightLayerAttention(nn.Module):
    """``o_l = lambda_l * o_{l-1} + sigmoid(s_ll) v_l`` (MRLA, Eq. 3).

    ``s_ll = <q_l, k_l> / sqrt(D)`` for each of the C / D heads; q and k are 1-D
    convolutions of the channel means, v a depthwise 3x3 convolution. With its one key
    the printed softmax would be constant 1; as the authors do, a sigmoid takes its place.

    Args:
        channels (int): C.
        dim_per_head (int): D.

    Raises:
        UserError: If D does not divide C.
    """

    def __init__(self, channels: int, dim_per_head: int = 32) -> None:
        super().__init__()
        if dim_per_head < 1 or channels % dim_per_head:
            raise UserError(f'dim_per_head={dim_per_head} does not divide a stage of {channels} '
                            'channels: choose a divisor of every stage\'s channels.')
        self.dim_per_head = dim_per_head
        k = kernel_size(channels)
        self.query = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)
        self.key = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)
        self.value = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.lambda_t = nn.Parameter(torch.randn(channels))

    def score(self, y: Tensor) -> Tensor:
        """``sigmoid(s_ll)`` of the channel means y (B, C), repeated over each head's channels."""
        heads = (y.shape[1] // self.dim_per_head, self.dim_per_head)
        q = self.query(y[:, None]).view(-1, *heads)
        k = self.key(y[:, None]).view(-1, *heads)
        s = (q * k).sum(-1, keepdim=True) / math.sqrt(self.dim_per_head)
        return s.sigmoid().expand_as(q).reshape(y.shape)

    def forward(self, x: Tensor, y: Tensor, o: Tensor) -> Tensor:
        """
        Args:
            x (Tensor): Block output, (B, C, H, W).
            y (Tensor): Its channel means, (B, C).
            o (Tensor): ``o_{l-1}``, (B, C, H, W).

        Returns:
            Tensor: ``o_l``, (B, C, H, W).
        """
        return per_channel(self.lambda_t.to(o.dtype)) * o + per_channel(
            self.score(y)) * self.value(x)
