"""Operations on channel means (B, C). Too small to be limited by anything but their number."""
import math
from typing import Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backend import exports_onnx, means_are_fast
from .norm import accumulator, runs_forward_of


def channel_convolution(y: Tensor, weights: Tensor) -> Tensor:
    """1-D convolutions over the channels, without bias, zero padded.

    Args:
        y (Tensor): Channel means of L layers, (B, L, C).
        weights (Tensor): M kernels of odd width K for each layer, (L, M, K).

    Returns:
        Tensor: (B, L, M, C).
    """
    if means_are_fast(y, weights):
        dtype, tensors = for_kernels(y, weights)
        return torch.ops.mmdla.channel_convolution(*tensors).to(dtype)
    num_layers, _, width = weights.shape
    if exports_onnx():  # the legacy exporter has no unfold of one axis
        kernels = weights.flatten(0, 1)[:, None]
        out = F.conv1d(y, kernels, padding=width // 2, groups=num_layers)
        return out.unflatten(1, weights.shape[:2])
    windows = F.pad(y, (width // 2, width // 2)).unfold(-1, width, 1)
    return (windows[:, :, None] * weights[:, :, None]).sum(-1)


def head_scores(query: Tensor, key: Tensor, dim_per_head: int) -> Tensor:
    """``<q, k> / sqrt(D)`` of each head, (..., C) and (..., C) to (..., C / D)."""
    product = (query * key).unflatten(-1, (-1, dim_per_head))
    return product.sum(-1) / math.sqrt(dim_per_head)


def repeat_over_heads(scores: Tensor, dim_per_head: int) -> Tensor:
    """Scores of each head, (..., C / D), repeated over its channels, (..., C)."""
    if exports_onnx():  # the legacy exporter's repeat_interleave fails where the batch is dynamic
        return scores[..., None].expand(*[-1] * scores.dim(), dim_per_head).flatten(-2)
    return scores.repeat_interleave(dim_per_head, -1)


def self_score(y: Tensor, weights: Tensor, dim_per_head: int) -> Tensor:
    """``sigmoid(<q_l, k_l> / sqrt(D))`` of a layer's own query and key, repeated over each head.

    Args:
        y (Tensor): Channel means, (B, C).
        weights (Tensor): 1-D kernels of query and key, (2, K).
        dim_per_head (int): D.

    Returns:
        Tensor: (B, C).
    """
    if means_are_fast(y, weights):
        dtype, tensors = for_kernels(y, weights)
        return torch.ops.mmdla.self_score(*tensors, dim_per_head)[0].to(dtype)
    query, key = channel_convolution(y[:, None], weights[None])[:, 0].unbind(1)
    return repeat_over_heads(head_scores(query, key, dim_per_head).sigmoid(), dim_per_head)


def dsu_is_fast(y: Tensor, c: Tensor, squeeze: nn.Module, expand: nn.Module) -> bool:
    """Whether :func:`dsu` takes these means and the weights of these linear layers."""
    return (means_are_fast(y, c, squeeze.weight) and y.dim() in (2, 3)
            and runs_forward_of(squeeze, nn.Linear) and runs_forward_of(expand, nn.Linear)
            and (c.shape == y.shape or (y.dim() == 3 and c.shape == (y.shape[0], 1, y.shape[2]))))


def dsu(y: Tensor, c: Tensor, squeeze: nn.Module, expand: nn.Module) -> Tensor:
    """A step of the DSU (DLA, Eq. 7-9) with the sigmoid as normalizer, as one operation.

    Only for tensors and linear layers for which :func:`dsu_is_fast`.

    Args:
        y (Tensor): Channel means, (B, C) or (B, T, C).
        c (Tensor): The context before, (B, C), (B, T, C) or (B, 1, C).
        squeeze (nn.Module): [h, y] to the hidden layer, 2 C to C // r.
        expand (nn.Module): The hidden layer to i, f and c~, C // r to 3 C.

    Returns:
        Tensor: The new context, like y.
    """
    dtype, tensors = for_kernels(y, c, squeeze.weight, expand.weight, expand.bias)
    return torch.ops.mmdla.dsu(*tensors)[0].to(dtype)


def dsu_update_is_fast(pre: Tensor, c: Tensor) -> bool:
    """Whether :func:`dsu_update` takes these tensors."""
    return (means_are_fast(pre, c) and pre.dim() == c.dim() and pre.dim() in (2, 3)
            and pre.shape[0] == c.shape[0])


def dsu_update(pre: Tensor, c: Tensor) -> Tensor:
    """``sigmoid(f) * c + sigmoid(i) * tanh(c~)``, the last step of the DSU, as one operation.

    Only for tensors for which :func:`dsu_update_is_fast`.

    Args:
        pre (Tensor): i, f and c~ before their activations, (B, 3 C) or (B, T, 3 C).
        c (Tensor): The context before, (B, C), or (B, T, C) or (B, 1, C).

    Returns:
        Tensor: The new context, (B, C) or (B, T, C).
    """
    dtype, (pre, c) = for_kernels(pre, c)
    if pre.dim() == 2:
        return torch.ops.mmdla.dsu_update(pre[:, None], c[:, None])[0][:, 0].to(dtype)
    return torch.ops.mmdla.dsu_update(pre, c)[0].to(dtype)


def for_kernels(*tensors: Tensor) -> Tuple[torch.dtype, Tuple[Tensor, ...]]:
    """The dtype of an operation's result, and its tensors as the C++ operations take them."""
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype, tuple(t.to(accumulator(dtype)).contiguous() for t in tensors)
