"""``ReLU(branch + shortcut)`` with its channel means, and their gradients."""
from typing import Optional, Tuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .tiling import load, place, tile, tiling_of, total


@triton.jit
def add_relu_mean_kernel(branch, shortcut, out, y, z, C, P, STRIDE_C, STRIDE_P, SPAN: tl.constexpr,
                         BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, ACC: tl.constexpr):
    b, part, first, c = place(C, P, SPAN, BLOCK_C)
    p, at, inside = tile(b, c, first, C, P, STRIDE_C, STRIDE_P, BLOCK_P)
    s = load(shortcut, at, inside, ACC)
    x = load(branch, at, inside, ACC) + s
    x = tl.where(x <= 0, 0., x).to(out.dtype.element_ty)
    tl.store(out + at, x, mask=inside)
    to = part * C + c
    tl.store(y + to, tl.sum(x.to(ACC), axis=1) / P, mask=c < C)
    if z is not None:
        tl.store(z + to, tl.sum(s, axis=1) / P, mask=c < C)


@triton.jit
def add_relu_mean_grad_kernel(x, grad_x, grad_y, grad_z, branch, shortcut,
                              C, P, STRIDE_C, STRIDE_P, SPAN: tl.constexpr,
                              BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, ACC: tl.constexpr):
    b, _, first, c = place(C, P, SPAN, BLOCK_C)
    p, at, inside = tile(b, c, first, C, P, STRIDE_C, STRIDE_P, BLOCK_P)
    d = tl.zeros([BLOCK_C, BLOCK_P], ACC)
    if grad_x is not None:
        d += load(grad_x, at, inside, ACC)
    if grad_y is not None:
        d += (load(grad_y, b * C + c, c < C, ACC) / P)[:, None]
    d = tl.where(load(x, at, inside, ACC) > 0, d, 0.)
    if branch is not None:
        tl.store(branch + at, d, mask=inside)
    if shortcut is not None:
        if grad_z is not None:
            d += (load(grad_z, b * C + c, c < C, ACC) / P)[:, None]
        tl.store(shortcut + at, d, mask=inside)


class AddReluMean(Function):

    @staticmethod
    def forward(ctx, branch, shortcut, both):
        tiling = tiling_of(branch)
        branch, shortcut = tiling.to_format(branch), tiling.to_format(shortcut)
        out = torch.empty_like(branch)
        y = tiling.partial_sums(*branch.shape[:2], like=branch)
        z = torch.empty_like(y) if both else None
        tiling.launch(add_relu_mean_kernel, branch, shortcut, out, y, z)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(out)
        return out, total(y, out.dtype), total(z, out.dtype) if both else None

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_x, grad_y, grad_z):
        x, = ctx.saved_tensors
        tiling = tiling_of(x)
        means = [None if g is None else g.contiguous() for g in (grad_y, grad_z)]
        branch = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        shared = branch is not None and grad_z is None
        shortcut = torch.empty_like(x) if ctx.needs_input_grad[1] and not shared else None
        grad_x = None if grad_x is None else tiling.to_format(grad_x)
        tiling.launch(add_relu_mean_grad_kernel, x, grad_x, *means, branch, shortcut)
        return branch, branch if shared and ctx.needs_input_grad[1] else shortcut, None


def add_relu_mean(branch: Tensor, shortcut: Tensor,
                  both: bool = False) -> Tuple[Tensor, Tensor, Optional[Tensor]]:
    """``x = ReLU(branch + shortcut)`` and channel means.

    Args:
        branch (Tensor): (B, C, H, W).
        shortcut (Tensor): (B, C, H, W).
        both (bool): Whether to return the means of the shortcut, too.

    Returns:
        tuple: x, (B, C, H, W); GAP(x), (B, C); GAP(shortcut), (B, C), or None.
    """
    return AddReluMean.apply(branch, shortcut, both)
