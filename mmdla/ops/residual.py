"""``x = ReLU(branch + shortcut)`` together with the channel means that layer attention reads."""
from typing import Optional, Tuple

import torch.nn.functional as F
from torch import Tensor

from .backend import implementation, kernels, records, traced


def residual(branch: Tensor, shortcut: Tensor,
             both: bool = False) -> Tuple[Tensor, Tensor, Tensor, Optional[Tensor]]:
    """Join a block, and average.

    Args:
        branch (Tensor): (B, C, H, W). May be overwritten, as a block's own sum does in the hosts.
        shortcut (Tensor): (B, C, H, W).
        both (bool): Whether the shortcut's means are wanted.

    Returns:
        tuple: ``x = ReLU(branch + shortcut)``, (B, C, H, W); the shortcut, for whoever reads it
        next; the means of x, (B, C), and those of the shortcut or None.
    """
    how = implementation(branch, shortcut) if branch.shape == shortcut.shape else 'reference'
    if how == 'triton':
        from . import triton_kernels
        x, y, z = triton_kernels.residual(branch, shortcut, both)
        return x, shortcut, y, z
    if how != 'kernels':
        x = add_relu(branch, shortcut)
        return x, shortcut, global_average(x), global_average(shortcut) if both else None
    x = own(branch)
    if records(x, shortcut):
        x, shortcut, y, z = kernels().residual(x, shortcut, both)
    else:
        y, z = kernels().residual_(x, shortcut, both)
    return x, shortcut, y, z if both else None


def add_relu(branch: Tensor, shortcut: Tensor) -> Tensor:
    """``ReLU(branch + shortcut)``, in the place of branch where that is allowed."""
    if traced() or branch.dtype != shortcut.dtype or branch.shape != shortcut.shape:
        return F.relu(branch + shortcut, inplace=True)
    return F.relu(own(branch).add_(shortcut), inplace=True)


def own(branch: Tensor) -> Tensor:
    """The tensor to overwrite: a copy of what autograd lets nobody overwrite.

    That is also the output of tanh, sigmoid, ReLU, ... at a block's end, which their gradients read.
    """
    protected = branch._is_view() or (branch.is_leaf and branch.requires_grad)
    return branch.clone() if protected or hasattr(type(branch.grad_fn), '_saved_result') else branch


def global_average(x: Tensor) -> Tensor:
    """GAP: (B, C, H, W) to (B, C)."""
    return x.mean((2, 3))
