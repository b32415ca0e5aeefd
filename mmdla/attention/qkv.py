"""Query, key and value of a layer (MRLA, ICLR 2023, section 3)."""
from typing import Tuple

import torch
from torch import Tensor, nn

from mmdla.errors import UserError
from mmdla.gates.eca import adaptive_kernel_size
from mmdla.ops import (
    channel_convolution,
    head_scores,
    repeat_over_heads,
    runs_forward_of,
    self_score,
)


class LayerQKV(nn.Module):
    """Query, key and value of one layer.

    q and k are 1-D convolutions of the channel means, v is a depthwise 3x3 convolution.

    Args:
        channels (int): C.
        dim_per_head (int): D.

    Raises:
        UserError: If D does not divide C.
    """

    def __init__(self, channels: int, dim_per_head: int) -> None:
        super().__init__()
        if dim_per_head < 1 or channels % dim_per_head:
            raise UserError(f'dim_per_head={dim_per_head} does not divide a stage of {channels} '
                            'channels: choose a divisor of every stage\'s channels.')
        self.dim_per_head = dim_per_head
        k = adaptive_kernel_size(channels)
        self.query = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)
        self.key = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)
        self.value = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)

    def query_and_key(self, y: Tensor) -> Tuple[Tensor, Tensor]:
        """q_l and k_l of the channel means y_l (B, C): each (B, C), in one operation."""
        if self.is_hooked():
            return self.query(y[:, None])[:, 0], self.key(y[:, None])[:, 0]
        return channel_convolution(y[:, None], self.query_key_weight()[None])[:, 0].unbind(1)

    def is_hooked(self) -> bool:
        """Whether the 1-D convolutions must be called, because of hooks or a forward of their own."""
        return not (runs_forward_of(self.query, nn.Conv1d) and runs_forward_of(self.key, nn.Conv1d))

    def query_key_weight(self) -> Tensor:
        """Weights of both 1-D convolutions, (2, K)."""
        return torch.cat([self.query.weight, self.key.weight]).flatten(1)


class LightLayerQKV(LayerQKV):
    """With lambda_l, (C, ), which starts as N(0, 1)."""

    def __init__(self, channels: int, dim_per_head: int) -> None:
        super().__init__(channels, dim_per_head)
        self.lambda_l = nn.Parameter(torch.randn(channels))

    def score(self, y: Tensor) -> Tensor:
        """``sigmoid(s_ll)``, ``s_ll = <q_l, k_l> / sqrt(D)`` for each head, repeated over its channels.

        Over one key the paper's softmax would be constant 1; as in the authors' code, a sigmoid takes
        its place.

        Args:
            y (Tensor): Channel means of x_l, (B, C).

        Returns:
            Tensor: (B, C).
        """
        if self.is_hooked():
            scores = head_scores(*self.query_and_key(y), self.dim_per_head)
            return repeat_over_heads(scores.sigmoid(), self.dim_per_head)
        return self_score(y, self.query_key_weight(), self.dim_per_head)


def softmax_over_layers(query: Tensor, keys: Tensor, dim_per_head: int) -> Tensor:
    """``a_lt = softmax_t(s_lt)``, ``s_lt = <q_l, k_t> / sqrt(D)``.

    Args:
        query (Tensor): q_l, (B, C).
        keys (Tensor): k_1 ... k_l, (B, l, C).
        dim_per_head (int): D.

    Returns:
        Tensor: Weights of the layers, repeated over each head's channels, (B, l, C).
    """
    scores = head_scores(query[:, None], keys, dim_per_head)
    return repeat_over_heads(scores.softmax(1), dim_per_head)
