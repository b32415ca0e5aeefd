"""The factors of a layer of MRLA-L or DLA-L as depthwise kernels of each sample, and their gradients."""
from typing import Optional, Tuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .tiling import TILE, WARPS, launch, load


@triton.jit
def samples(B, C, BLOCK_B: tl.constexpr, BLOCK_C: tl.constexpr):
    """All samples b (BLOCK_B, 1), this program's channels c (1, BLOCK_C), and whether there are such."""
    b = tl.arange(0, BLOCK_B).to(tl.int64)[:, None]
    c = (tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)).to(tl.int64)[None, :]
    return b, c, (b < B) & (c < C)


@triton.jit
def centre(d, b, c, C, inside, ACC: tl.constexpr):
    """The refresh of o_{l-1}, (BLOCK_B, BLOCK_C)."""
    if d is None:
        return inside.to(ACC)
    else:
        return load(d, b * C + c, inside, ACC)


@triton.jit(do_not_specialize=['B'])
def fold_kernel(value, score, scale, d, excite, kernel_x, kernel_o, B, C,
                BLOCK_B: tl.constexpr, BLOCK_C: tl.constexpr, ACC: tl.constexpr):
    b, c, inside = samples(B, C, BLOCK_B, BLOCK_C)
    s, lam = load(score, b * C + c, inside, ACC), load(scale, c, c < C, ACC)
    refresh = centre(d, b, c, C, inside, ACC)
    if excite is None:
        tl.store(kernel_o + (b * C + c), lam * refresh, mask=inside)
    for t in tl.static_range(9):
        to = (b * 9 + t) * C + c
        tl.store(kernel_x + to, s * load(value, c * 9 + t, c < C, ACC), mask=inside)
        if excite is not None:
            e = load(excite, c * 9 + t, c < C, ACC)
            tl.store(kernel_o + to, lam * (e + refresh if t == 4 else e), mask=inside)


@triton.jit(do_not_specialize=['B'])
def fold_grad_kernel(grad_x, grad_o, value, score, scale, d, excite,
                     value_grad, score_grad, scale_grad, d_grad, excite_grad, B, C,
                     BLOCK_B: tl.constexpr, BLOCK_C: tl.constexpr, ACC: tl.constexpr):
    """A program has all samples of its channels, and so the sums over samples."""
    b, c, inside = samples(B, C, BLOCK_B, BLOCK_C)
    s, lam = load(score, b * C + c, inside, ACC), load(scale, c, c < C, ACC)
    refresh = centre(d, b, c, C, inside, ACC)
    ds = tl.zeros([BLOCK_B, BLOCK_C], ACC)
    dl = tl.zeros([BLOCK_B, BLOCK_C], ACC)
    if excite is None:
        g = load(grad_o, b * C + c, inside, ACC)
        dl += g * refresh
        if d is not None:
            tl.store(d_grad + (b * C + c), g * lam, mask=inside)
    for t in tl.static_range(9):
        at = (b * 9 + t) * C + c
        g = load(grad_x, at, inside, ACC)
        ds += g * load(value, c * 9 + t, c < C, ACC)
        tl.store(value_grad + (c * 9 + t), tl.sum(g * s, axis=0)[None, :], mask=c < C)
        if excite is not None:
            g = load(grad_o, at, inside, ACC)
            e = load(excite, c * 9 + t, c < C, ACC)
            dl += g * (e + refresh if t == 4 else e)
            tl.store(excite_grad + (c * 9 + t), tl.sum(g * lam, axis=0)[None, :], mask=c < C)
            if t == 4 and d is not None:
                tl.store(d_grad + (b * C + c), g * lam, mask=inside)
    tl.store(score_grad + (b * C + c), ds, mask=inside)
    tl.store(scale_grad + c, tl.sum(dl, axis=0)[None, :], mask=c < C)


def start(kernel, score: Tensor, *args: Optional[Tensor]) -> None:
    """A kernel above, for factors of the size and dtype of score (B, C)."""
    batch, channels = score.shape
    block_b = triton.next_power_of_2(batch)
    block_c = min(triton.next_power_of_2(channels), max(TILE // block_b, 1), 32)
    acc = tl.float64 if score.dtype == torch.float64 else tl.float32
    launch(kernel, triton.cdiv(channels, block_c), *args, batch, channels,
           BLOCK_B=block_b, BLOCK_C=block_c, ACC=acc, num_warps=WARPS)


class Fold(Function):

    @staticmethod
    def forward(ctx, *factors):
        value, score, scale, d, excite = factors = [f if f is None else f.contiguous() for f in factors]
        batch, channels = score.shape
        kernel_x = score.new_empty(batch, 9, channels)
        kernel_o = score.new_empty(batch, 1 if excite is None else 9, channels)
        start(fold_kernel, score, *factors, kernel_x, kernel_o)
        ctx.save_for_backward(*factors)
        return kernel_x.transpose(1, 2), kernel_o.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        factors = ctx.saved_tensors
        found = [f if f is None else torch.empty_like(f) for f in factors]
        start(fold_grad_kernel, factors[1], *(g.transpose(1, 2).contiguous() for g in grads),
              *factors, *found)
        return tuple(found)


def fold(value_weight: Tensor, score: Tensor, lambda_l: Tensor, d: Optional[Tensor],
         excite_weight: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
    """``score * value_weight`` and ``lambda_l * (d * delta + excite_weight)``, one dtype all.

    Args:
        value_weight (Tensor): (C, 1, 3, 3).
        score (Tensor): (B, C).
        lambda_l (Tensor): (C, ).
        d (Tensor, optional): (B, C); without it 1.
        excite_weight (Tensor, optional): (C, 1, 3, 3).

    Returns:
        tuple: Kernels for x, (B, C, 9), and o, (B, C, 9) or, with the centre tap alone, (B, C, 1), as
        views of what :func:`depthwise_pair` reads.
    """
    return Fold.apply(value_weight, score, lambda_l, d, excite_weight)
