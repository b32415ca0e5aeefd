"""The last step of a layer of MRLA-L or DLA-L as one operation: ``x + DropPath(norm(o_l))``."""
from typing import Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backend import implementation, needs_grad
from .norm import (
    BNAffine,
    accumulator,
    bn_affine,
    drop_path_scale,
    is_bn_affine,
    runs_forward_of,
    scale_affine,
    update_running_stats,
)


def light_is_fast(x: Tensor, o: Tensor, norm: nn.Module, *convolutions: Optional[nn.Module]) -> bool:
    """Whether :func:`light_attention` takes these maps, this norm, and the weights of convolutions."""
    how = implementation(x, o)
    return (how != 'reference' and x.shape == o.shape
            and (x.is_contiguous() or how == 'triton' or is_bn_affine(norm, x))
            and all(c is None or runs_forward_of(c, nn.Conv2d) for c in convolutions))


def light_attention(x: Tensor, o: Tensor, value_weight: Tensor, score: Tensor, lambda_l: Tensor,
                    d: Optional[Tensor], excite_weight: Optional[Tensor], norm: nn.Module,
                    drop_path: nn.Module) -> Tensor:
    """``x + DropPath(norm(o_l))`` with
    ``o_l = lambda_l * (d * o_{l-1} + dw(o_{l-1}; excite_weight)) + score * dw(x; value_weight)``.

    Only for maps, norms and convolutions for which :func:`light_is_fast`.

    Args:
        x (Tensor): Block output, (B, C, H, W). May be overwritten where no gradient is needed.
        o (Tensor): ``o_{l-1}``, (B, C, H, W).
        value_weight (Tensor): Of the depthwise 3x3 convolution that makes v_l, (C, 1, 3, 3).
        score (Tensor): ``sigmoid(s_ll)``, (B, C).
        lambda_l (Tensor): (C, ).
        d (Tensor, optional): Refresh of ``o_{l-1}``, (B, C); without it 1.
        excite_weight (Tensor, optional): Of the depthwise 3x3 convolution E, (C, 1, 3, 3).
        norm (nn.Module): Norm of the layer.
        drop_path (nn.Module): Its DropPath.

    Returns:
        Tensor: The next block's input, (B, C, H, W).
    """
    how = implementation(x, o)
    dtype = accumulator(x.dtype)
    factors = [None if factor is None else factor.to(dtype).contiguous()
               for factor in (value_weight, score, lambda_l, d, excite_weight)]
    affine = bn_affine(norm, x) if is_bn_affine(norm, x) else None
    if how == 'kernels' and affine is not None:
        return light_kernels(x, o, factors, affine, norm, drop_path)
    convolve = depthwise_pair
    if how == 'triton':
        from .triton_kernels import depthwise_pair as convolve
    kernel_x, kernel_o = fold(*factors)
    if affine is None or affine.normalize:
        return x + drop_path(norm(convolve(x, o, kernel_x, kernel_o)))
    gamma, beta = scale_affine(affine, drop_path_scale(drop_path, x))
    kernel_x = F.pad(torch.ones_like(kernel_x[..., :1]), (4, 4)) + gamma[..., None] * kernel_x
    return convolve(x, o, kernel_x, gamma[..., None] * kernel_o, beta)


def light_kernels(x: Tensor, o: Tensor, factors: Sequence[Optional[Tensor]], affine: BNAffine,
                  norm: nn.Module, drop_path: nn.Module) -> Tensor:
    """:func:`light_attention` by the C++ kernels."""
    gamma, beta, normalize, eps = affine
    inputs = (x, o, *factors, gamma, beta, drop_path_scale(drop_path, x), eps, normalize)
    if needs_grad(x, o, *factors, gamma, beta):
        out, mean, var = torch.ops.mmdla.light(*inputs)
    else:
        # channels_last maps are computed by rows, which read those beside them
        out = x if x.is_contiguous() else torch.empty_like(x)
        mean, var = torch.empty_like(gamma), torch.empty_like(gamma)
        torch.ops.mmdla.light_out(*inputs, out, mean, var)
    if normalize:
        update_running_stats(norm, mean, var, x.numel() // x.shape[1])
    return out


def fold(value_weight: Tensor, score: Tensor, lambda_l: Tensor, d: Optional[Tensor],
         excite_weight: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
    """Depthwise kernels for x, (B, C, 9), and o, (B, C, 9) or, with the centre tap alone, (B, C, 1).

    A factor per sample and channel commutes with a depthwise convolution:
    ``score * dw(x; value_weight) = dw(x; score * value_weight)`` and
    ``lambda_l * (d * o + dw(o; excite_weight)) = dw(o; lambda_l * (d * delta + excite_weight))``,
    delta being the kernel with 1 at the centre tap and 0 elsewhere.
    """
    centre = (torch.ones_like(score) if d is None else d)[..., None]
    if excite_weight is not None:
        centre = F.pad(centre, (4, 4)) + excite_weight.flatten(1)
    return score[..., None] * value_weight.flatten(1), lambda_l[:, None] * centre


def depthwise_pair(x: Tensor, o: Tensor, kernel_x: Tensor, kernel_o: Tensor,
                   bias: Optional[Tensor] = None) -> Tensor:
    """``dw(x; kernel_x) + dw(o; kernel_o) + bias``, every sample with its own kernels.

    Args:
        x (Tensor): (B, C, H, W).
        o (Tensor): (B, C, H, W).
        kernel_x (Tensor): (B, C, 9).
        kernel_o (Tensor): (B, C, 9), or (B, C, 1), the centre tap alone.
        bias (Tensor, optional): (1, C) or (B, C).

    Returns:
        Tensor: (B, C, H, W).
    """
    first = depthwise(x, kernel_x, bias)
    if kernel_o.shape[-1] == 1:
        return torch.addcmul(first, o, kernel_o[..., None].to(o.dtype))
    return first + depthwise(o, kernel_o)


def depthwise(x: Tensor, kernel: Tensor, bias: Optional[Tensor] = None) -> Tensor:
    """Depthwise 3x3 convolution of x (B, C, H, W) with kernels (B, C, 9), bias (1 or B, C)."""
    batch, channels, height, width = x.shape
    if bias is not None:
        bias = bias.expand(batch, channels).reshape(-1).to(x.dtype)
    out = F.conv2d(
        x.reshape(1, -1, height, width),
        kernel.reshape(-1, 1, 3, 3).to(x.dtype),
        bias,
        padding=1,
        groups=batch * channels)
    return out.view(x.shape)
