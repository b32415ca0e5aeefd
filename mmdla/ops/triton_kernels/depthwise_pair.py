"""The sum of two depthwise convolutions with kernels per sample, and its gradients."""
from typing import Optional

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .tiling import first_row, load, tap, tile, tiling_of, total, weight


@triton.jit
def pair_kernel(x, o, kernel_x, kernel_o, bias, out, H, W, C, P, STRIDE_C, STRIDE_P,
                TAPS_O: tl.constexpr,
                BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, ACC: tl.constexpr):
    b, c, p, at, inside = tile(C, P, STRIDE_C, STRIDE_P, BLOCK_C, BLOCK_P)
    acc = tl.zeros([BLOCK_C, BLOCK_P], ACC)
    if bias is not None:
        acc += weight(bias, 0, b, c, C, 1, ACC)
    if TAPS_O == 1:
        acc += weight(kernel_o, 0, b, c, C, 1, ACC) * load(o, at, inside, ACC)
    for t in tl.static_range(9):
        step, there = tap(t, p, H, W)
        near, valid = at + step * STRIDE_P, inside & there
        acc += weight(kernel_x, t, b, c, C, 9, ACC) * load(x, near, valid, ACC)
        if TAPS_O == 9:
            acc += weight(kernel_o, t, b, c, C, 9, ACC) * load(o, near, valid, ACC)
    tl.store(out + at, acc, mask=inside)


@triton.jit
def pair_grad_kernel(grad, kernel_x, kernel_o, grad_x, grad_o, H, W, C, P, STRIDE_C, STRIDE_P,
                     TAPS_O: tl.constexpr,
                     BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, ACC: tl.constexpr):
    """Gradients of the maps: depthwise convolutions of grad with the kernels flipped."""
    b, c, p, at, inside = tile(C, P, STRIDE_C, STRIDE_P, BLOCK_C, BLOCK_P)
    x = tl.zeros([BLOCK_C, BLOCK_P], ACC)
    o = tl.zeros([BLOCK_C, BLOCK_P], ACC)
    for t in tl.static_range(9):
        step, there = tap(t, p, H, W)
        g = load(grad, at + step * STRIDE_P, inside & there, ACC)
        if grad_x is not None:
            x += weight(kernel_x, 8 - t, b, c, C, 9, ACC) * g
        if grad_o is not None:
            if TAPS_O == 9:
                o += weight(kernel_o, 8 - t, b, c, C, 9, ACC) * g
            elif t == 4:
                o += weight(kernel_o, 0, b, c, C, 1, ACC) * g
    if grad_x is not None:
        tl.store(grad_x + at, x, mask=inside)
    if grad_o is not None:
        tl.store(grad_o + at, o, mask=inside)


@triton.jit
def pair_sums_kernel(grad, x, o, sums, batch, H, W, C, P, STRIDE_C, STRIDE_P,
                     TAPS_O: tl.constexpr,
                     BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, ACC: tl.constexpr):
    """Gradients of kernel_x, kernel_o and bias as sums (tiles, batch, 9 + TAPS_O + 1, channels)."""
    b, c, p, at, inside = tile(C, P, STRIDE_C, STRIDE_P, BLOCK_C, BLOCK_P)
    to = sums + (first_row(batch) + b) * (10 + TAPS_O) * C + c
    g = load(grad, at, inside, ACC)
    tl.store(to + (9 + TAPS_O) * C, tl.sum(g, axis=1), mask=c < C)
    if TAPS_O == 1:
        tl.store(to + 9 * C, tl.sum(g * load(o, at, inside, ACC), axis=1), mask=c < C)
    for t in tl.static_range(9):
        step, there = tap(t, p, H, W)
        near, valid = at + step * STRIDE_P, inside & there
        tl.store(to + t * C, tl.sum(g * load(x, near, valid, ACC), axis=1), mask=c < C)
        if TAPS_O == 9:
            tl.store(to + (9 + t) * C, tl.sum(g * load(o, near, valid, ACC), axis=1), mask=c < C)


class DepthwisePair(Function):

    @staticmethod
    def forward(ctx, x, o, kernel_x, kernel_o, bias):
        tiling = tiling_of(x)
        x, o = tiling.to_format(x), tiling.to_format(o)
        kernel_x, kernel_o = (k.transpose(1, 2).contiguous() for k in (kernel_x, kernel_o))
        out = torch.empty_like(x)
        tiling.launch(pair_kernel, x, o, kernel_x, kernel_o,
                      None if bias is None else bias.contiguous(), out, *x.shape[2:],
                      TAPS_O=kernel_o.shape[1])
        ctx.save_for_backward(x, o, kernel_x, kernel_o)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, o, kernel_x, kernel_o = ctx.saved_tensors
        tiling, size, taps = tiling_of(x), x.shape[2:], kernel_o.shape[1]
        grad, needs = tiling.to_format(grad), ctx.needs_input_grad
        grad_x, grad_o = (torch.empty_like(m) if n else None for m, n in zip((x, o), needs))
        if any(needs[:2]):
            tiling.launch(pair_grad_kernel, grad, kernel_x, kernel_o, grad_x, grad_o, *size, TAPS_O=taps)
        if not any(needs[2:]):
            return grad_x, grad_o, None, None, None
        batch, channels = x.shape[:2]
        sums = tiling.partial_sums(batch, 10 + taps, channels, like=kernel_x)
        tiling.launch(pair_sums_kernel, grad, x, o, sums, batch, *size, TAPS_O=taps)
        sums = total(sums, kernel_x.dtype).split([9, taps, 1], dim=1)
        return (grad_x, grad_o, sums[0].transpose(1, 2), sums[1].transpose(1, 2),
                sums[2][:, 0] if needs[4] else None)


def depthwise_pair(x: Tensor, o: Tensor, kernel_x: Tensor, kernel_o: Tensor,
                   bias: Optional[Tensor] = None) -> Tensor:
    """``dw(x; kernel_x) + dw(o; kernel_o) + bias``, every sample with its own kernels.

    Args:
        x (Tensor): (B, C, H, W).
        o (Tensor): (B, C, H, W).
        kernel_x (Tensor): (B, C, 9).
        kernel_o (Tensor): (B, C, 9), or (B, C, 1), the centre alone.
        bias (Tensor, optional): (1, C) or (B, C).

    Returns:
        Tensor: (B, C, H, W).
    """
    if bias is not None:
        bias = bias.expand(x.shape[:2])
    return DepthwisePair.apply(x, o, kernel_x, kernel_o, bias)
