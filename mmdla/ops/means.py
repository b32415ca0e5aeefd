"""Operations on channel means: tiny, so that their number is what they cost."""
import math

import torch.nn.functional as F
from torch import Tensor

from .backend import kernels, plain


def channel_convolution(y: Tensor, weights: Tensor) -> Tensor:
    """1-D convolutions over the channels, without bias, zero padded.

    Args:
        y (Tensor): Channel means of L layers, (B, L, C).
        weights (Tensor): M kernels of odd width K for each layer, (L, M, K).

    Returns:
        Tensor: (B, L, M, C).
    """
    if plain(y, weights):
        return kernels().channel_convolution(y.contiguous(), weights.contiguous())
    width = weights.shape[-1]
    windows = F.pad(y, (width // 2, width // 2)).unfold(-1, width, 1)
    return (windows[:, :, None] * weights[:, :, None]).sum(-1)


def head_scores(query: Tensor, key: Tensor, dim_per_head: int) -> Tensor:
    """``<q, k> / sqrt(D)`` of each head, (..., C) and (..., C) to (..., C / D)."""
    product = (query * key).unflatten(-1, (-1, dim_per_head))
    return product.sum(-1) / math.sqrt(dim_per_head)


def self_score(y: Tensor, weights: Tensor, dim_per_head: int) -> Tensor:
    """``sigmoid(s_ll)`` (MRLA, Eq. 3) of a layer's own query and key, repeated over each head.

    Args:
        y (Tensor): Channel means, (B, C).
        weights (Tensor): 1-D kernels of query and key, (2, K).
        dim_per_head (int): D.

    Returns:
        Tensor: (B, C).
    """
    if plain(y, weights):
        return kernels().self_score(y.contiguous(), weights.contiguous(), dim_per_head)
    query, key = channel_convolution(y[:, None], weights[None])[:, 0].unbind(1)
    return head_scores(query, key, dim_per_head).sigmoid().repeat_interleave(dim_per_head, -1)


def gates(pre: Tensor, c: Tensor) -> Tensor:
    """``sigmoid(f) * c + sigmoid(i) * tanh(c~)`` (DLA, Eq. 9).

    Args:
        pre (Tensor): i, f and c~ before their functions, (..., 3 C).
        c (Tensor): The context before, broadcastable to (..., C).

    Returns:
        Tensor: (..., C).
    """
    if plain(pre, c) and pre.dim() == c.dim() and pre.dim() in (2, 3) and pre.shape[0] == c.shape[0]:
        if pre.dim() == 2:
            return kernels().gates(pre.contiguous()[:, None], c.contiguous()[:, None])[:, 0]
        return kernels().gates(pre.contiguous(), c.contiguous())
    i, f, g = pre.chunk(3, -1)
    return f.sigmoid() * c + i.sigmoid() * g.tanh()
