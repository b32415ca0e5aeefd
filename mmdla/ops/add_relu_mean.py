"""The sum and ReLU at the end of a residual block, with the channel means that attention reads."""
from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .backend import implementation, is_transformed, needs_grad
from .maps import gap


def add_relu_mean(branch: Tensor, shortcut: Tensor,
                  both: bool = False) -> Tuple[Tensor, Tensor, Tensor, Optional[Tensor]]:
    """``x = ReLU(branch + shortcut)``, GAP(x) and, if asked, GAP(shortcut), in one pass.

    Args:
        branch (Tensor): Residual branch, (B, C, H, W). May be overwritten, as by the hosts' blocks.
        shortcut (Tensor): (B, C, H, W).
        both (bool): Whether to return the means of the shortcut, too.

    Returns:
        tuple: x, (B, C, H, W); the shortcut, to be read in place of the argument, so that its
        gradients arrive here together; GAP(x), (B, C); GAP(shortcut), (B, C), or None.
    """
    how = implementation(branch, shortcut) if branch.shape == shortcut.shape else 'reference'
    if how == 'triton':
        from . import triton_kernels
        x, y, z = triton_kernels.add_relu_mean(branch, shortcut, both)
        return x, shortcut, y, z
    if how != 'kernels':
        x = add_relu(branch, shortcut)
        return x, shortcut, gap(x), gap(shortcut) if both else None
    if torch.compiler.is_compiling():
        x, y, z = torch.ops.mmdla.add_relu_mean(branch, shortcut, both)
    elif needs_grad(x := writable(branch), shortcut):
        shortcut, y, z = torch.ops.mmdla.add_relu_mean_chained(x, shortcut, both)
    else:
        y, z = torch.ops.mmdla.add_relu_mean_(x, shortcut, both)
    return x, shortcut, y, z if both else None


def add_relu(branch: Tensor, shortcut: Tensor) -> Tensor:
    """``ReLU(branch + shortcut)``, (B, C, H, W) each; in place of branch where autograd allows it."""
    if (torch.compiler.is_compiling() or is_transformed(branch, shortcut)
            or branch.dtype != shortcut.dtype or branch.shape != shortcut.shape):
        return F.relu(branch + shortcut, inplace=True)
    return F.relu(writable(branch).add_(shortcut), inplace=True)


def writable(branch: Tensor) -> Tensor:
    """The tensor, or a copy where it must not be overwritten.

    Views and leaves that require a gradient must not, nor the output of an activation (tanh,
    sigmoid, ReLU, ...), which its own backward reads.
    """
    protected = branch._is_view() or (branch.is_leaf and branch.requires_grad)
    return branch.clone() if protected or hasattr(type(branch.grad_fn), '_saved_result') else branch
