"""The weighted sum over the layers' value maps, and its gradients."""
from typing import List, Optional, Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .tiling import first_row, load, tile, tiling_of, total

SUMMED_MAPS = 8  # that one launch adds
GRADIENT_MAPS = 4  # whose gradients one launch computes


@triton.jit
def add_weighted(acc, weight, v, at, inside, ok, ACC: tl.constexpr):
    if v is not None:
        acc += tl.load(weight, mask=ok, other=0).to(ACC)[:, None] * load(v, at, inside, ACC)
    return acc


@triton.jit
def sum_kernel(out, weights, layers, first, v0, v1, v2, v3, v4, v5, v6, v7,
               C, P, STRIDE_C, STRIDE_P, MORE: tl.constexpr,
               BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, ACC: tl.constexpr):
    """``out = sum_i weights[:, first + i] v_i``, or with MORE ``out += ...``."""
    b, c, p, at, inside = tile(C, P, STRIDE_C, STRIDE_P, BLOCK_C, BLOCK_P)
    ok = c < C
    w = weights + (b * layers + first) * C + c
    acc = tl.zeros([BLOCK_C, BLOCK_P], ACC)
    if MORE:
        acc += load(out, at, inside, ACC)
    acc = add_weighted(acc, w, v0, at, inside, ok, ACC)
    acc = add_weighted(acc, w + C, v1, at, inside, ok, ACC)
    acc = add_weighted(acc, w + 2 * C, v2, at, inside, ok, ACC)
    acc = add_weighted(acc, w + 3 * C, v3, at, inside, ok, ACC)
    acc = add_weighted(acc, w + 4 * C, v4, at, inside, ok, ACC)
    acc = add_weighted(acc, w + 5 * C, v5, at, inside, ok, ACC)
    acc = add_weighted(acc, w + 6 * C, v6, at, inside, ok, ACC)
    acc = add_weighted(acc, w + 7 * C, v7, at, inside, ok, ACC)
    tl.store(out + at, acc, mask=inside)


@triton.jit
def weighted_grad(g, weight, v, d, to, at, inside, ok, SUMS: tl.constexpr, ACC: tl.constexpr):
    if d is not None:
        tl.store(d + at, tl.load(weight, mask=ok, other=0).to(ACC)[:, None] * g, mask=inside)
    if SUMS and v is not None:
        tl.store(to, tl.sum(g * load(v, at, inside, ACC), axis=1), mask=ok)


@triton.jit
def sum_grad_kernel(grad, weights, sums, rows, layers, first, v0, v1, v2, v3, d0, d1, d2, d3,
                    C, P, STRIDE_C, STRIDE_P, SUMS: tl.constexpr,
                    BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, ACC: tl.constexpr):
    """``d_i = weights[:, first + i] grad``; with SUMS, also the weights' gradients."""
    b, c, p, at, inside = tile(C, P, STRIDE_C, STRIDE_P, BLOCK_C, BLOCK_P)
    ok = c < C
    w = weights + (b * layers + first) * C + c
    to = sums + (first_row(rows) + b * layers + first) * C + c
    g = load(grad, at, inside, ACC)
    weighted_grad(g, w, v0, d0, to, at, inside, ok, SUMS, ACC)
    weighted_grad(g, w + C, v1, d1, to + C, at, inside, ok, SUMS, ACC)
    weighted_grad(g, w + 2 * C, v2, d2, to + 2 * C, at, inside, ok, SUMS, ACC)
    weighted_grad(g, w + 3 * C, v3, d3, to + 3 * C, at, inside, ok, SUMS, ACC)


def chunk(maps: Sequence[Optional[Tensor]], first: int, size: int) -> List[Optional[Tensor]]:
    """``maps[first:first + size]``, padded with None."""
    group = list(maps[first:first + size])
    return group + [None] * (size - len(group))


class WeightedSum(Function):

    @staticmethod
    def forward(ctx, weights, *values):
        tiling = tiling_of(values[0])
        weights, values = weights.contiguous(), [tiling.to_format(v) for v in values]
        out = torch.empty_like(values[0])
        for first in range(0, len(values), SUMMED_MAPS):
            tiling.launch(sum_kernel, out, weights, len(values), first,
                          *chunk(values, first, SUMMED_MAPS), MORE=first > 0)
        ctx.save_for_backward(weights, *values)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        weights, *values = ctx.saved_tensors
        tiling = tiling_of(values[0])
        grad, (sums, *maps) = tiling.to_format(grad), ctx.needs_input_grad
        grads = [torch.empty_like(v) if need else None for v, need in zip(values, maps)]
        partial = tiling.partial_sums(*weights.shape, like=weights) if sums else weights
        for first in range(0, len(values), GRADIENT_MAPS):
            tiling.launch(sum_grad_kernel, grad, weights, partial, weights.shape[:2].numel(),
                          len(values), first, *chunk(values, first, GRADIENT_MAPS),
                          *chunk(grads, first, GRADIENT_MAPS), SUMS=sums)
        return total(partial, weights.dtype) if sums else None, *grads


def weighted_sum(weights: Tensor, values: Sequence[Tensor]) -> Tensor:
    """``sum_t weights[:, t] values[t]``. Autograd saves the weights and the values only.

    Args:
        weights (Tensor): (B, l, C).
        values (sequence of Tensor): l maps, each (B, C, H, W).

    Returns:
        Tensor: (B, C, H, W).
    """
    return WeightedSum.apply(weights, *values)
