"""BatchNorm and DropPath as operations that hold them inside see them."""
from typing import NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn

from .backend import accumulator
from .weighted_sum import per_channel


class Affine(NamedTuple):
    """``norm(u) = gamma * u' + beta``, u' = u, or u by the moments of its batch."""

    gamma: Tensor
    beta: Tensor
    normalize: bool
    eps: float


class FoldedNorm(nn.Module):
    """A BatchNorm for inference as what it is then: ``gamma * x + beta``, each (C, )."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        gamma, beta, *_ = as_affine(norm, norm.running_mean[None])
        self.register_buffer('gamma', gamma.detach().to(norm.running_mean.dtype))
        self.register_buffer('beta', beta.detach().to(norm.running_mean.dtype))

    def forward(self, x: Tensor) -> Tensor:
        return per_channel(self.gamma.to(x.dtype)) * x + per_channel(self.beta.to(x.dtype))


def as_affine(norm: nn.Module, x: Tensor) -> Optional[Affine]:
    """Parameters of a norm on maps like x (B, C, H, W), each (C, ), in the dtype of its sums.

    None for what no operation computes inside: norms that are not BatchNorm, SyncBN over several
    processes, and batches of one value per channel, which BatchNorm itself refuses.
    """
    if isinstance(norm, FoldedNorm):
        dtype = accumulator(x.dtype)
        return Affine(norm.gamma.to(dtype), norm.beta.to(dtype), False, 0.0)
    if not isinstance(norm, nn.modules.batchnorm._BatchNorm):
        return None
    dtype = accumulator(x.dtype)
    ones = torch.ones(x.shape[1], dtype=dtype, device=x.device)
    gamma = ones if norm.weight is None else norm.weight.to(dtype)
    beta = torch.zeros_like(ones) if norm.bias is None else norm.bias.to(dtype)
    if uses_batch(norm):
        if type(norm) is not nn.BatchNorm2d or x.numel() == x.shape[1]:
            return None
        return Affine(gamma, beta, True, norm.eps)
    gamma = gamma * (norm.running_var.to(dtype) + norm.eps).rsqrt()
    beta = torch.addcmul(beta, norm.running_mean.to(dtype), gamma, value=-1)
    return Affine(gamma, beta, False, norm.eps)


def uses_batch(norm: nn.Module) -> bool:
    return norm.training or norm.running_mean is None


@torch.no_grad()
def track(norm: nn.Module, mean: Tensor, var: Tensor, count: int) -> None:
    """Move running moments towards those of a batch of ``count`` values per channel, (C, ) each."""
    if not norm.training or norm.running_mean is None:
        return
    norm.num_batches_tracked += 1
    momentum = norm.momentum
    if momentum is None:
        momentum = 1 / float(norm.num_batches_tracked)
    for running, new in ((norm.running_mean, mean), (norm.running_var, var * (count / (count - 1)))):
        running.lerp_(new.to(running.dtype), momentum)


def kept(drop_path: nn.Module, x: Tensor) -> Optional[Tensor]:
    """Factor of each sample, (B, ), by which DropPath multiplies; None where it does nothing."""
    if not (drop_path.training and drop_path.drop_prob):
        return None
    return drop_path(x.new_ones(len(x), 1, 1, 1, dtype=accumulator(x.dtype))).flatten()


def scaled(affine: Affine, scale: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
    """gamma and beta times the factors of the samples: each (1, C) or (B, C)."""
    if scale is None:
        return affine.gamma[None], affine.beta[None]
    return scale[:, None] * affine.gamma, scale[:, None] * affine.beta
