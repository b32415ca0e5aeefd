"""The sum of two depthwise convolutions with kernels per sample, and its gradients."""
from typing import Optional

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .tiling import load, place, tile, tiling_of, total


@triton.jit
def taps(kernels, b, c, C, TAPS: tl.constexpr, ACC: tl.constexpr):
    """The sample's kernels (batch, TAPS, channels) as a tuple of vectors (BLOCK_C, 1)."""
    w = ()
    for t in tl.static_range(TAPS):
        w = w + (load(kernels, (b * TAPS + t) * C + c, c < C, ACC)[:, None], )
    return w


@triton.jit
def neighbour(m, t: tl.constexpr, p, at, inside, W, P, STRIDE_P, ACC: tl.constexpr):
    """The t-th of 3 x 3 neighbours of the elements of a tile, 0 beyond the borders."""
    if t // 3 == 0:
        inside = inside & (p >= W)[None, :]
    if t // 3 == 2:
        inside = inside & (p < P - W)[None, :]
    if t % 3 == 0:
        inside = inside & (p % W > 0)[None, :]
    if t % 3 == 2:
        inside = inside & (p % W < W - 1)[None, :]
    return load(m, at + ((t // 3 - 1) * W + t % 3 - 1) * STRIDE_P, inside, ACC)


@triton.jit(do_not_specialize=['W'])
def pair_kernel(x, o, kernel_x, kernel_o, bias, out, W, C, P, STRIDE_C, STRIDE_P,
                TAPS_O: tl.constexpr, SPAN: tl.constexpr,
                BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, ACC: tl.constexpr):
    b, _, first, c = place(C, P, SPAN, BLOCK_C)
    weights_x = taps(kernel_x, b, c, C, 9, ACC)
    weights_o = taps(kernel_o, b, c, C, TAPS_O, ACC)
    start = tl.zeros([BLOCK_C, 1], ACC)
    if bias is not None:
        start += load(bias, b * C + c, c < C, ACC)[:, None]
    for begin in range(first, min(first + SPAN, P), BLOCK_P):
        p, at, inside = tile(b, c, begin, C, P, STRIDE_C, STRIDE_P, BLOCK_P)
        acc = tl.zeros([BLOCK_C, BLOCK_P], ACC) + start
        for t in tl.static_range(9):
            acc += weights_x[t] * neighbour(x, t, p, at, inside, W, P, STRIDE_P, ACC)
            if TAPS_O == 9:
                acc += weights_o[t] * neighbour(o, t, p, at, inside, W, P, STRIDE_P, ACC)
            elif t == 4:
                acc += weights_o[0] * load(o, at, inside, ACC)
        tl.store(out + at, acc, mask=inside)


@triton.jit(do_not_specialize=['W'])
def pair_grad_kernel(grad, kernel_x, kernel_o, grad_x, grad_o, W, C, P, STRIDE_C, STRIDE_P,
                     TAPS_O: tl.constexpr, SPAN: tl.constexpr,
                     BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, ACC: tl.constexpr):
    """Gradients of the maps: depthwise convolutions of grad with the kernels flipped."""
    b, _, first, c = place(C, P, SPAN, BLOCK_C)
    weights_x = taps(kernel_x, b, c, C, 9, ACC)
    weights_o = taps(kernel_o, b, c, C, TAPS_O, ACC)
    for begin in range(first, min(first + SPAN, P), BLOCK_P):
        p, at, inside = tile(b, c, begin, C, P, STRIDE_C, STRIDE_P, BLOCK_P)
        x = tl.zeros([BLOCK_C, BLOCK_P], ACC)
        o = tl.zeros([BLOCK_C, BLOCK_P], ACC)
        for t in tl.static_range(9):
            g = neighbour(grad, t, p, at, inside, W, P, STRIDE_P, ACC)
            if grad_x is not None:
                x += weights_x[8 - t] * g
            if grad_o is not None:
                if TAPS_O == 9:
                    o += weights_o[8 - t] * g
                elif t == 4:
                    o += weights_o[0] * g
        if grad_x is not None:
            tl.store(grad_x + at, x, mask=inside)
        if grad_o is not None:
            tl.store(grad_o + at, o, mask=inside)


@triton.jit
def add(sums, n: tl.constexpr, product):
    """The tuple of sums, with a product added to the n-th."""
    return sums[:n] + (sums[n] + product, ) + sums[n + 1:]


@triton.jit(do_not_specialize=['W'])
def pair_sums_kernel(grad, x, o, out, W, C, P, STRIDE_C, STRIDE_P,
                     TAPS_O: tl.constexpr, SPAN: tl.constexpr,
                     BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, ACC: tl.constexpr):
    """Gradients of kernel_x, kernel_o and bias as sums (batch, parts, 9 + TAPS_O + 1, channels).

    ``sum_p grad(p) x(p + step) = sum_p grad(p - step) x(p)``: shifted, grad is read for both maps.
    """
    b, part, first, c = place(C, P, SPAN, BLOCK_C)
    sums = (tl.zeros([BLOCK_C, BLOCK_P], ACC), ) * (10 + TAPS_O)
    for begin in range(first, min(first + SPAN, P), BLOCK_P):
        p, at, inside = tile(b, c, begin, C, P, STRIDE_C, STRIDE_P, BLOCK_P)
        x_here, o_here = load(x, at, inside, ACC), load(o, at, inside, ACC)
        for t in tl.static_range(9):
            g = neighbour(grad, 8 - t, p, at, inside, W, P, STRIDE_P, ACC)
            sums = add(sums, t, g * x_here)
            if TAPS_O == 9:
                sums = add(sums, 9 + t, g * o_here)
            elif t == 4:
                sums = add(sums, 9, g * o_here)
            if t == 4:
                sums = add(sums, 9 + TAPS_O, g)
    for t in tl.static_range(10 + TAPS_O):
        tl.store(out + ((part * (10 + TAPS_O) + t) * C + c), tl.sum(sums[t], axis=1), mask=c < C)


class DepthwisePair(Function):

    @staticmethod
    def forward(ctx, x, o, kernel_x, kernel_o, bias):
        tiling = tiling_of(x, loop=True)
        x, o = tiling.to_format(x), tiling.to_format(o)
        kernel_x, kernel_o = (k.transpose(1, 2).contiguous() for k in (kernel_x, kernel_o))
        out = torch.empty_like(x)
        tiling.launch(pair_kernel, x, o, kernel_x, kernel_o,
                      None if bias is None else bias.contiguous(), out, x.shape[3],
                      TAPS_O=kernel_o.shape[1])
        ctx.save_for_backward(x, o, kernel_x, kernel_o)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, o, kernel_x, kernel_o = ctx.saved_tensors
        tiling = tiling_of(x, loop=True)
        grad = tiling.to_format(grad)
        (batch, channels, _, width), taps_o, needs = x.shape, kernel_o.shape[1], ctx.needs_input_grad
        grad_x, grad_o = (torch.empty_like(m) if n else None for m, n in zip((x, o), needs))
        if any(needs[:2]):
            tiling.launch(pair_grad_kernel, grad, kernel_x, kernel_o, grad_x, grad_o, width,
                          TAPS_O=taps_o)
        if not any(needs[2:]):
            return grad_x, grad_o, None, None, None
        sums = tiling.partial_sums(batch, 10 + taps_o, channels, like=kernel_x)
        tiling.launch(pair_sums_kernel, grad, x, o, sums, width, TAPS_O=taps_o)
        sums = total(sums, kernel_x.dtype).split([9, taps_o, 1], dim=1)
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
