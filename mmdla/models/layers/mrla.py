"""Multi-head recurrent layer attention (MRLA).

*Cross-Layer Retrospective Retrieving via Layer Attention*, ICLR 2023.
"""
import math
from typing import Tuple

import torch
from torch import Tensor, nn

from mmdla.errors import UserError
from mmdla.ops import channel_convolution, head_scores, self_score


def kernel_size(channels: int) -> int:
    """Odd width of the 1-D convolutions that make queries and keys.

    3 for 64 channels, 5 for 128 to 1024, 7 for 2048 (the rule of ECA-Net).
    """
    t = int(abs((math.log2(channels) + 1) / 2))
    return t if t % 2 else t + 1


class LayerAttention(nn.Module):
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
        k = kernel_size(channels)
        self.query = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)
        self.key = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)
        self.value = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)

    def query_and_key(self, y: Tensor) -> Tuple[Tensor, Tensor]:
        """q_l and k_l of the channel means y (B, C): each (B, C).

        One operation for both, since calling one costs more than its work.
        """
        return channel_convolution(y[:, None], self.kernels()[None])[:, 0].unbind(1)

    def kernels(self) -> Tensor:
        """Of query and key, (2, K)."""
        return torch.cat([self.query.weight, self.key.weight]).flatten(1)


class LightLayerAttention(LayerAttention):
    """``o_l = lambda_l * o_{l-1} + sigmoid(s_ll) v_l`` (MRLA, Eq. 3).

    With its one key the printed softmax would be constant 1; as the authors do, a sigmoid
    takes its place.
    """

    def __init__(self, channels: int, dim_per_head: int = 32) -> None:
        super().__init__(channels, dim_per_head)
        self.lambda_t = nn.Parameter(torch.randn(channels))

    def score(self, y: Tensor) -> Tensor:
        """``sigmoid(s_ll)`` of the channel means y (B, C), repeated over each head's channels."""
        return self_score(y, self.kernels(), self.dim_per_head)


def softmax_over_layers(query: Tensor, keys: Tensor, dim_per_head: int) -> Tensor:
    """``softmax_t(s_lt)`` (MRLA, Eq. 2).

    Args:
        query (Tensor): q_l, (B, 1, C).
        keys (Tensor): k_1 ... k_l, (B, l, C).
        dim_per_head (int): D.

    Returns:
        Tensor: Weights of the layers, repeated over each head's channels, (B, l, C).
    """
    scores = head_scores(query, keys, dim_per_head)
    return scores.softmax(1).repeat_interleave(dim_per_head, -1)
