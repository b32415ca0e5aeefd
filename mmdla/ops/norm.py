"""BatchNorm and DropPath as numbers, for operations that compute both themselves."""
from typing import NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .maps import scale


class BNAffine(NamedTuple):
    """``gamma * u + beta``; with ``normalize``, u is first normalised by its batch statistics."""

    gamma: Tensor
    beta: Tensor
    normalize: bool
    eps: float


class FoldedNorm(nn.Module):
    """A BatchNorm in eval mode as one scale and one shift per channel, ``gamma * x + beta``.

    The running statistics are folded into gamma and beta, (C, ) each. For inference only.

    Args:
        norm (nn.Module): BatchNorm with running statistics.
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        gamma, beta, *_ = bn_affine(norm, norm.running_mean[None])
        self.register_buffer('gamma', gamma.detach().to(norm.running_mean.dtype))
        self.register_buffer('beta', beta.detach().to(norm.running_mean.dtype))

    def forward(self, x: Tensor) -> Tensor:
        return scale(x, self.gamma) + self.beta.to(x.dtype)[:, None, None]


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """The dtype of sums over maps of a dtype: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def is_bn_affine(norm: nn.Module, x: Tensor) -> bool:
    """Whether :func:`bn_affine` can express a norm on maps like x (B, C, H, W).

    Not if it is no BatchNorm or one with a forward of its own or hooks, if its statistics are shared by
    several processes (SyncBN in training), or if a channel has one value, for which BatchNorm raises
    an error in training.
    """
    if isinstance(norm, FoldedNorm):
        return True
    if not any(runs_forward_of(norm, cls) for cls in (_BatchNorm, nn.SyncBatchNorm)):
        return False
    if not uses_batch(norm):
        return True
    return runs_forward_of(norm, _BatchNorm) and x.numel() > x.shape[1]


def runs_forward_of(module: nn.Module, cls: type) -> bool:
    """Whether a call of a module is the forward of a class, without hooks or another forward."""
    return (type(module).forward is cls.forward and 'forward' not in module.__dict__
            and not (module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
                     or module._backward_pre_hooks))


def bn_affine(norm: nn.Module, x: Tensor) -> BNAffine:
    """Scale and shift of a norm on maps like x (B, C, H, W), (C, ) each, in the accumulator's dtype.

    With running statistics, these are folded in. Only for norms that :func:`is_bn_affine` accepts.
    """
    dtype = accumulator(x.dtype)
    if isinstance(norm, FoldedNorm):
        return BNAffine(norm.gamma.to(dtype), norm.beta.to(dtype), False, 0.0)
    like = dict(dtype=dtype, device=x.device)
    gamma = torch.ones(x.shape[1], **like) if norm.weight is None else norm.weight.to(dtype)
    beta = torch.zeros(x.shape[1], **like) if norm.bias is None else norm.bias.to(dtype)
    if uses_batch(norm):
        return BNAffine(gamma, beta, True, norm.eps)
    gamma = gamma * (norm.running_var.to(dtype) + norm.eps).rsqrt()
    # neg() also copies: a later forward in training moves the mean that autograd keeps
    beta = torch.addcmul(beta, norm.running_mean.to(dtype).neg(), gamma)
    return BNAffine(gamma, beta, False, norm.eps)


def uses_batch(norm: nn.Module) -> bool:
    """Whether a BatchNorm normalises by the statistics of the batch."""
    return norm.training or (norm.running_mean is None and norm.running_var is None)


@torch.no_grad()
def update_running_stats(norm: nn.Module, mean: Tensor, var: Tensor, count: int) -> None:
    """Update a BatchNorm's running statistics as its own forward does in training.

    Args:
        norm (nn.Module): BatchNorm.
        mean (Tensor): Of the batch, (C, ).
        var (Tensor): Of the batch, biased, (C, ).
        count (int): Values per channel, B * H * W.
    """
    if not norm.training or not norm.track_running_stats or norm.running_mean is None:
        return
    momentum = norm.momentum or 0.0
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if norm.momentum is None:  # a cumulative average
            momentum = 1 / float(norm.num_batches_tracked)
    for running, new in ((norm.running_mean, mean), (norm.running_var, var * (count / (count - 1)))):
        # as in PyTorch's own, autograd does not see the change: it may keep them for a call before
        unseen = running if torch.compiler.is_compiling() else running.data
        unseen.lerp_(new.to(running.dtype), momentum)


def drop_path_scale(drop_path: nn.Module, x: Tensor) -> Optional[Tensor]:
    """What DropPath multiplies each sample of x by in this call, (B, ); None if it does nothing.

    0 for a dropped sample, 1 / (1 - drop_prob) for the others.
    """
    if not (drop_path.training and drop_path.drop_prob):
        return None
    return drop_path(x.new_ones(len(x), 1, 1, 1, dtype=accumulator(x.dtype))).flatten()


def scale_affine(affine: BNAffine, factor: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
    """gamma and beta times a factor per sample (B, ): (B, C) each, or (1, C) where it is None."""
    if factor is None:
        return affine.gamma[None], affine.beta[None]
    return factor[:, None] * affine.gamma, factor[:, None] * affine.beta
