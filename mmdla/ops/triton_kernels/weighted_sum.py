"""The weighted sum over the layers' value maps, and its gradients."""
from typing import List, Optional, Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .tiling import load, place, tile, tiling_of, total

SUMMED_MAPS = 8  # that one launch adds
GRADIENT_MAPS = 4  # whose gradients one launch computes


@triton.jit
def add_weighted(acc, weights, row, v, c, C, at, inside, ACC: tl.constexpr):
    if v is not None:
        acc += load(weights, row * C + c, c < C, ACC)[:, None] * load(v, at, inside, ACC)
    return acc


@triton.jit(do_not_specialize=['layers', 'first'])
def sum_kernel(out, weights, layers, first, v0, v1, v2, v3, v4, v5, v6, v7,
               C, P, STRIDE_C, STRIDE_P, MORE: tl.constexpr,
               SPAN: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, ACC: tl.constexpr):
    """``out = sum_i weights[:, first + i] v_i``, or with MORE ``out += ...``."""
    b, _, begin, c = place(C, P, SPAN, BLOCK_C)
    p, at, inside = tile(b, c, begin, C, P, STRIDE_C, STRIDE_P, BLOCK_P)
    row = b * layers + first
    acc = tl.zeros([BLOCK_C, BLOCK_P], ACC)
    if MORE:
        acc += load(out, at, inside, ACC)
    acc = add_weighted(acc, weights, row, v0, c, C, at, inside, ACC)
    acc = add_weighted(acc, weights, row + 1, v1, c, C, at, inside, ACC)
    acc = add_weighted(acc, weights, row + 2, v2, c, C, at, inside, ACC)
    acc = add_weighted(acc, weights, row + 3, v3, c, C, at, inside, ACC)
    acc = add_weighted(acc, weights, row + 4, v4, c, C, at, inside, ACC)
    acc = add_weighted(acc, weights, row + 5, v5, c, C, at, inside, ACC)
    acc = add_weighted(acc, weights, row + 6, v6, c, C, at, inside, ACC)
    acc = add_weighted(acc, weights, row + 7, v7, c, C, at, inside, ACC)
    tl.store(out + at, acc, mask=inside)


@triton.jit
def weighted_grad(g, weights, row, v, d, sums, to, c, C, at, inside,
                  SUMS: tl.constexpr, ACC: tl.constexpr):
    if d is not None:
        tl.store(d + at, load(weights, row * C + c, c < C, ACC)[:, None] * g, mask=inside)
    if SUMS and v is not None:
        tl.store(sums + (to * C + c), tl.sum(g * load(v, at, inside, ACC), axis=1), mask=c < C)


@triton.jit(do_not_specialize=['layers', 'first'])
def sum_grad_kernel(grad, weights, sums, layers, first, v0, v1, v2, v3, d0, d1, d2, d3,
                    C, P, STRIDE_C, STRIDE_P, SUMS: tl.constexpr,
                    SPAN: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, ACC: tl.constexpr):
    """``d_i = weights[:, first + i] grad``; with SUMS, also the weights' gradients."""
    b, part, begin, c = place(C, P, SPAN, BLOCK_C)
    p, at, inside = tile(b, c, begin, C, P, STRIDE_C, STRIDE_P, BLOCK_P)
    row, to = b * layers + first, part * layers + first
    g = load(grad, at, inside, ACC)
    weighted_grad(g, weights, row, v0, d0, sums, to, c, C, at, inside, SUMS, ACC)
    weighted_grad(g, weights, row + 1, v1, d1, sums, to + 1, c, C, at, inside, SUMS, ACC)
    weighted_grad(g, weights, row + 2, v2, d2, sums, to + 2, c, C, at, inside, SUMS, ACC)
    weighted_grad(g, weights, row + 3, v3, d3, sums, to + 3, c, C, at, inside, SUMS, ACC)


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
            tiling.launch(sum_grad_kernel, grad, weights, partial, len(values), first,
                          *chunk(values, first, GRADIENT_MAPS), *chunk(grads, first, GRADIENT_MAPS),
                          SUMS=sums)
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
