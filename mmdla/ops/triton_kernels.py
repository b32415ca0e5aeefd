"""The operations as Triton kernels, for CUDA.

A program handles a tile of one sample: BLOCK_C channels by BLOCK_P places, a place being
``p = h * W + w``, so that NCHW and NHWC differ only in the two strides. Sums over places are stored
per tile and added up afterwards: no atomics, the same result every time. All maps of a call are
brought to the memory format of the first. An argument that is None is compiled away.
"""
from typing import NamedTuple, Optional, Sequence, Tuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .backend import accumulator

TILE = 2048
WARPS = 8
SUMMED = 8  # maps that one launch adds
SPLIT = 4  # maps whose gradients one launch computes


class Tiling(NamedTuple):
    """How a call cuts its maps."""
    format: torch.memory_format
    dtype: torch.dtype
    grid: Tuple[int, int]
    sizes: dict

    def like(self, m: Tensor) -> Tensor:
        return m.contiguous(memory_format=self.format)

    def launch(self, kernel, *args, **flags):
        device = next(a for a in args if a is not None)
        with torch.cuda.device_of(device):
            kernel[self.grid](*args, **self.sizes, **flags, num_warps=WARPS)

    def partial(self, *shape: int, like: Tensor) -> Tensor:
        """Where tiles store their sums: (tiles, *shape), in the accumulator's dtype if several."""
        tiles = self.grid[1]
        dtype = like.dtype if tiles == 1 else accumulator(self.dtype)
        return torch.empty((tiles, *shape), dtype=dtype, device=like.device)


def tiling(m: Tensor) -> Tiling:
    batch, channels, height, width = m.shape
    places = height * width
    last = not m.is_contiguous() and m.is_contiguous(memory_format=torch.channels_last)
    block_c, block_p = triton.next_power_of_2(channels), triton.next_power_of_2(places)
    if last:
        block_c = min(block_c, 32)
        block_p = min(block_p, TILE // block_c)
    else:
        block_p = min(block_p, TILE)
        block_c = min(block_c, TILE // block_p)
    return Tiling(
        torch.channels_last if last else torch.contiguous_format,
        m.dtype,
        (batch * triton.cdiv(channels, block_c), triton.cdiv(places, block_p)),
        dict(
            C=channels,
            P=places,
            STRIDE_C=1 if last else places,
            STRIDE_P=channels if last else 1,
            BLOCK_C=block_c,
            BLOCK_P=block_p,
            ACC=tl.float64 if m.dtype == torch.float64 else tl.float32))


def total(partial: Tensor, dtype: torch.dtype) -> Tensor:
    """(tiles, ...) to (...)."""
    return (partial[0] if len(partial) == 1 else partial.sum(0)).to(dtype)


@triton.jit
def tile(C, P, STRIDE_C, STRIDE_P, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr):
    """This program's sample, channels (BLOCK_C), places (BLOCK_P), offsets and mask (both)."""
    blocks = tl.cdiv(C, BLOCK_C)
    b = (tl.program_id(0) // blocks).to(tl.int64)
    c = tl.program_id(0) % blocks * BLOCK_C + tl.arange(0, BLOCK_C)
    p = tl.program_id(1) * BLOCK_P + tl.arange(0, BLOCK_P)
    at = b * C * P + c.to(tl.int64)[:, None] * STRIDE_C + p.to(tl.int64)[None, :] * STRIDE_P
    return b, c, p, at, (c < C)[:, None] & (p < P)[None, :]


@triton.jit
def load(pointer, at, inside, ACC: tl.constexpr):
    return tl.load(pointer + at, mask=inside, other=0).to(ACC)


@triton.jit
def part(rows):
    """Where this tile's partial sums begin, each tile having so many rows."""
    return tl.program_id(1).to(tl.int64) * rows


@triton.jit
def weight(kernels, t, b, c, C, TAPS: tl.constexpr, ACC: tl.constexpr):
    """The t-th weights of kernels (batch, TAPS, channels), a column."""
    return load(kernels, (b * TAPS + t) * C + c, c < C, ACC)[:, None]


@triton.jit
def tap(t, p, H, W):
    """Distance in places to the t-th of 3 x 3 neighbours, and which places have it."""
    y = p // W + (t // 3 - 1)
    x = p % W + (t % 3 - 1)
    return (t // 3 - 1) * W + (t % 3 - 1), ((y >= 0) & (y < H) & (x >= 0) & (x < W))[None, :]


@triton.jit
def residual_kernel(branch, shortcut, out, y, z, rows, C, P, STRIDE_C, STRIDE_P,
                    BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, ACC: tl.constexpr):
    b, c, p, at, inside = tile(C, P, STRIDE_C, STRIDE_P, BLOCK_C, BLOCK_P)
    s = load(shortcut, at, inside, ACC)
    x = load(branch, at, inside, ACC) + s
    x = tl.where(x <= 0, 0., x).to(out.dtype.element_ty)
    tl.store(out + at, x, mask=inside)
    row = part(rows) + b * C + c
    tl.store(y + row, tl.sum(x.to(ACC), axis=1) / P, mask=c < C)
    if z is not None:
        tl.store(z + row, tl.sum(s, axis=1) / P, mask=c < C)


@triton.jit
def residual_grad_kernel(x, grad_x, grad_y, grad_z, branch, shortcut, C, P, STRIDE_C, STRIDE_P,
                         BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, ACC: tl.constexpr):
    b, c, p, at, inside = tile(C, P, STRIDE_C, STRIDE_P, BLOCK_C, BLOCK_P)
    row = b * C + c
    d = tl.zeros([BLOCK_C, BLOCK_P], ACC)
    if grad_x is not None:
        d += load(grad_x, at, inside, ACC)
    if grad_y is not None:
        d += (load(grad_y, row, c < C, ACC) / P)[:, None]
    d = tl.where(load(x, at, inside, ACC) > 0, d, 0.)
    if branch is not None:
        tl.store(branch + at, d, mask=inside)
    if shortcut is not None:
        if grad_z is not None:
            d += (load(grad_z, row, c < C, ACC) / P)[:, None]
        tl.store(shortcut + at, d, mask=inside)


class Residual(Function):

    @staticmethod
    def forward(ctx, branch, shortcut, both):
        cut = tiling(branch)
        branch, shortcut = cut.like(branch), cut.like(shortcut)
        out = torch.empty_like(branch)
        shape = branch.shape[:2]
        y = cut.partial(*shape, like=branch)
        z = torch.empty_like(y) if both else None
        cut.launch(residual_kernel, branch, shortcut, out, y, z, shape.numel())
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(out)
        return out, total(y, out.dtype), total(z, out.dtype) if both else None

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_x, grad_y, grad_z):
        x, = ctx.saved_tensors
        cut = tiling(x)
        means = [None if g is None else g.contiguous() for g in (grad_y, grad_z)]
        branch = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        shared = branch is not None and grad_z is None
        shortcut = torch.empty_like(x) if ctx.needs_input_grad[1] and not shared else None
        cut.launch(residual_grad_kernel, x, None if grad_x is None else cut.like(grad_x), *means,
                   branch, shortcut)
        return branch, branch if shared and ctx.needs_input_grad[1] else shortcut, None


def residual(branch: Tensor, shortcut: Tensor,
             both: bool = False) -> Tuple[Tensor, Tensor, Optional[Tensor]]:
    """``x = ReLU(branch + shortcut)`` and means over places.

    Args:
        branch (Tensor): (B, C, H, W).
        shortcut (Tensor): (B, C, H, W).
        both (bool): Whether the shortcut's means are wanted.

    Returns:
        tuple: x, (B, C, H, W); its means, (B, C); the shortcut's means, (B, C), or None.
    """
    return Residual.apply(branch, shortcut, both)


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
    """The maps' gradients: correlation with the kernels turned by half a turn."""
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
    """The gradients of kernels and bias, sums (tiles, batch, 9 + TAPS_O + 1, channels)."""
    b, c, p, at, inside = tile(C, P, STRIDE_C, STRIDE_P, BLOCK_C, BLOCK_P)
    to = sums + (part(batch) + b) * (10 + TAPS_O) * C + c
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
        cut = tiling(x)
        x, o = cut.like(x), cut.like(o)
        kernel_x, kernel_o = (k.transpose(1, 2).contiguous() for k in (kernel_x, kernel_o))
        out = torch.empty_like(x)
        cut.launch(pair_kernel, x, o, kernel_x, kernel_o,
                   None if bias is None else bias.contiguous(), out, *x.shape[2:],
                   TAPS_O=kernel_o.shape[1])
        ctx.save_for_backward(x, o, kernel_x, kernel_o)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, o, kernel_x, kernel_o = ctx.saved_tensors
        cut, size, taps = tiling(x), x.shape[2:], kernel_o.shape[1]
        grad, needs = cut.like(grad), ctx.needs_input_grad
        grad_x, grad_o = (torch.empty_like(m) if n else None for m, n in zip((x, o), needs))
        if any(needs[:2]):
            cut.launch(pair_grad_kernel, grad, kernel_x, kernel_o, grad_x, grad_o, *size, TAPS_O=taps)
        if not any(needs[2:]):
            return grad_x, grad_o, None, None, None
        batch, channels = x.shape[:2]
        sums = cut.partial(batch, 10 + taps, channels, like=kernel_x)
        cut.launch(pair_sums_kernel, grad, x, o, sums, batch, *size, TAPS_O=taps)
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


@triton.jit
def plus(acc, weight, v, at, inside, ok, ACC: tl.constexpr):
    if v is not None:
        acc += tl.load(weight, mask=ok, other=0).to(ACC)[:, None] * load(v, at, inside, ACC)
    return acc


@triton.jit
def sum_kernel(out, weights, layers, first, v0, v1, v2, v3, v4, v5, v6, v7,
               C, P, STRIDE_C, STRIDE_P, MORE: tl.constexpr,
               BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, ACC: tl.constexpr):
    """``out = sum_i weights[:, first + i] v_i``, added to out with MORE."""
    b, c, p, at, inside = tile(C, P, STRIDE_C, STRIDE_P, BLOCK_C, BLOCK_P)
    ok = c < C
    w = weights + (b * layers + first) * C + c
    acc = tl.zeros([BLOCK_C, BLOCK_P], ACC)
    if MORE:
        acc += load(out, at, inside, ACC)
    acc = plus(acc, w, v0, at, inside, ok, ACC)
    acc = plus(acc, w + C, v1, at, inside, ok, ACC)
    acc = plus(acc, w + 2 * C, v2, at, inside, ok, ACC)
    acc = plus(acc, w + 3 * C, v3, at, inside, ok, ACC)
    acc = plus(acc, w + 4 * C, v4, at, inside, ok, ACC)
    acc = plus(acc, w + 5 * C, v5, at, inside, ok, ACC)
    acc = plus(acc, w + 6 * C, v6, at, inside, ok, ACC)
    acc = plus(acc, w + 7 * C, v7, at, inside, ok, ACC)
    tl.store(out + at, acc, mask=inside)


@triton.jit
def split(g, weight, v, d, to, at, inside, ok, SUMS: tl.constexpr, ACC: tl.constexpr):
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
    to = sums + (part(rows) + b * layers + first) * C + c
    g = load(grad, at, inside, ACC)
    split(g, w, v0, d0, to, at, inside, ok, SUMS, ACC)
    split(g, w + C, v1, d1, to + C, at, inside, ok, SUMS, ACC)
    split(g, w + 2 * C, v2, d2, to + 2 * C, at, inside, ok, SUMS, ACC)
    split(g, w + 3 * C, v3, d3, to + 3 * C, at, inside, ok, SUMS, ACC)


def grouped(maps: Sequence[Optional[Tensor]], first: int, size: int):
    """The maps from first on, as many as a launch takes, None for those that do not exist."""
    group = list(maps[first:first + size])
    return group + [None] * (size - len(group))


class WeightedSum(Function):

    @staticmethod
    def forward(ctx, weights, *values):
        cut = tiling(values[0])
        weights, values = weights.contiguous(), [cut.like(v) for v in values]
        out = torch.empty_like(values[0])
        for first in range(0, len(values), SUMMED):
            cut.launch(sum_kernel, out, weights, len(values), first,
                       *grouped(values, first, SUMMED), MORE=first > 0)
        ctx.save_for_backward(weights, *values)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        weights, *values = ctx.saved_tensors
        cut = tiling(values[0])
        grad, (sums, *maps) = cut.like(grad), ctx.needs_input_grad
        grads = [torch.empty_like(v) if need else None for v, need in zip(values, maps)]
        partial = cut.partial(*weights.shape, like=weights) if sums else weights
        for first in range(0, len(values), SPLIT):
            cut.launch(sum_grad_kernel, grad, weights, partial, weights.shape[:2].numel(),
                       len(values), first, *grouped(values, first, SPLIT),
                       *grouped(grads, first, SPLIT), SUMS=sums)
        return total(partial, weights.dtype) if sums else None, *grads


def weighted_sum(weights: Tensor, values: Sequence[Tensor]) -> Tensor:
    """``sum_t weights[:, t] values[t]``. Keeps nothing but weights and values for the gradient.

    Args:
        weights (Tensor): (B, l, C).
        values (sequence of Tensor): l maps, each (B, C, H, W).

    Returns:
        Tensor: (B, C, H, W).
    """
    return WeightedSum.apply(weights, *values)
