"""Attention-augmented convolution (ICCV 2019)."""
from typing import Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from mmdla.errors import UserError
from mmdla.registry import MODELS


@MODELS.register_module()
class AAConv2d(nn.Module):
    """A convolution some of whose output channels come from self-attention over the positions.

    ``[conv(x), W MHA(x)]``. Per head the logits of position i for j
    are ``q_i k_j + q_i r^W_{j_x - i_x} + q_i r^H_{j_y - i_y}`` with q scaled by 20^-1/2.
    Of F output channels the attention gives dv = 0.1 F, rounded down to a multiple of its
    8 heads, at least 8; queries and keys have dk = 0.2 F channels, at least 20 a head.

    With a stride the attention reads the input averaged over 3x3 windows with that stride.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, bias: As of nn.Conv2d.
        size (int | tuple[int, int]): Height and width of the output map that the position tables
            are made for, (2H - 1, 20) and (2W - 1, 20); for maps of another size they are
            interpolated.
        pool (int): The attention works on a map smaller by this factor, averaged over 3x3
            windows, and its output is enlarged again, bilinearly: less memory at 28x28.

    Raises:
        UserError: If out_channels leave the convolution nothing, or for a pool below 1.
    """

    heads, kappa, upsilon, dim_per_head = 8, 0.2, 0.1, 20

    def __init__(self,
                 in_channels: int,
                 out_channels: int,
                 kernel_size: Union[int, Tuple[int, int]],
                 stride: Union[int, Tuple[int, int]] = 1,
                 padding: Union[int, Tuple[int, int]] = 0,
                 dilation: Union[int, Tuple[int, int]] = 1,
                 bias: bool = False,
                 *,
                 size: Union[int, Tuple[int, int]],
                 pool: int = 1) -> None:
        super().__init__()
        of_a_head = out_channels / self.heads
        self.dk = max(int(round(self.kappa * of_a_head, 6)), self.dim_per_head) * self.heads
        self.dv = max(int(round(self.upsilon * of_a_head, 6)), 1) * self.heads
        if self.dv >= out_channels:
            raise UserError(f'{out_channels} channels are too few for an attention-augmented '
                            f'convolution, whose {self.heads} heads need {self.dv} of them: leave this '
                            'stage out.')
        if not isinstance(pool, int) or pool < 1:
            raise UserError(f'pool of AAConv2d must be a whole number from 1 up; got {pool!r}.')
        self.strides = [s for s in (_pair(stride)[0], pool) if s > 1]
        self.pool = pool
        self.conv = nn.Conv2d(in_channels, out_channels - self.dv, kernel_size, stride, padding,
                              dilation, bias=bias)
        self.qkv = nn.Conv2d(in_channels, 2 * self.dk + self.dv, 1, bias=False)
        self.out = nn.Conv2d(self.dv, self.dv, 1, bias=False)
        height, width = (-(-side // pool) for side in _pair(size))
        dim = self.dk // self.heads
        self.rows = nn.Parameter(torch.randn(2 * height - 1, dim) * dim**-0.5)
        self.columns = nn.Parameter(torch.randn(2 * width - 1, dim) * dim**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, F, H', W')."""
        near, far = self.conv(x), x
        for stride in self.strides:
            far = F.avg_pool2d(far, 3, stride, 1, count_include_pad=False)
        far = self.out(self.attend(far))
        if self.pool > 1:
            far = F.interpolate(far, near.shape[2:], mode='bilinear')
        return torch.cat([near, far], 1)

    def attend(self, x: Tensor) -> Tensor:
        """Multi-head attention over positions: (B, C, H, W) to (B, dv, H, W)."""
        height, width = x.shape[2:]
        q, k, v = (part.unflatten(1, (self.heads, -1))
                   for part in self.qkv(x).split([self.dk, self.dk, self.dv], 1))
        q = q * q.shape[2]**-0.5
        contents = torch.einsum('bndyx,bndhw->bnyxhw', q, k)
        rows = torch.einsum('bndyx,yhd->bnyxh', q, relative(self.rows, height))
        columns = torch.einsum('bndyx,xwd->bnyxw', q, relative(self.columns, width))
        logits = contents + rows[..., None] + columns[..., None, :]
        weights = logits.flatten(4).softmax(-1)
        return torch.einsum('bnyxp,bndp->bndyx', weights, v.flatten(3)).flatten(1, 2)


def relative(table: Tensor, length: int) -> Tensor:
    """Embeddings r_{j - i} of all positions i and j on a side: (length, length, D).

    Args:
        table (Tensor): Those of the distances 1 - N ... N - 1, (2N - 1, D), interpolated where
            N is not length.
    """
    if len(table) != 2 * length - 1:
        table = F.interpolate(table.T[None], 2 * length - 1, mode='linear')[0].T
    position = torch.arange(length, device=table.device)
    return table[position - position[:, None] + length - 1]
