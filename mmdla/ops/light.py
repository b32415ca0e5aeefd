"""The last step of a layer of MRLA-L or DLA-L: ``x + DropPath(norm(o_l))`` (MRLA, Eq. 3)."""
from typing import Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backend import accumulator, implementation, kernels, records
from .norm import Affine, as_affine, kept, scaled, track
from .weighted_sum import per_channel


def light_attention(x: Tensor, o: Tensor, value: Tensor, score: Tensor, decay: Tensor,
                    gate: Optional[Tensor], excite: Optional[Tensor], norm: nn.Module,
                    drop_path: nn.Module) -> Tensor:
    """``x + DropPath(norm(o_l))`` with
    ``o_l = decay * (gate * o_{l-1} + dw(o_{l-1}; excite)) + score * dw(x; value)``.

    Args:
        x (Tensor): Block output, (B, C, H, W). May be overwritten where no gradient is recorded.
        o (Tensor): ``o_{l-1}``, (B, C, H, W).
        value (Tensor): Weight of the depthwise 3x3 convolution that makes v_l, (C, 1, 3, 3).
        score (Tensor): ``sigmoid(s_ll)``, (B, C).
        decay (Tensor): lambda_l, (C, ).
        gate (Tensor, optional): DLA's gates of o_{l-1}, (B, C).
        excite (Tensor, optional): Weight of E, (C, 1, 3, 3).
        norm (nn.Module): Norm of the layer.
        drop_path (nn.Module): Its DropPath.

    Returns:
        Tensor: The next block's input, (B, C, H, W).
    """
    how = implementation(x, o)
    if how == 'reference' or x.shape != o.shape:
        v = F.conv2d(x, value, padding=1, groups=x.shape[1])
        return x + drop_path(norm(mix(o, v, score, decay, gate, excite)))
    affine = as_affine(norm, x)
    dtype = accumulator(x.dtype)
    factors = (value, score, decay, gate, excite)
    factors = [None if f is None else f.to(dtype).contiguous() for f in factors]
    if how == 'kernels' and affine is not None:
        return light_kernels(x, o, factors, affine, norm, drop_path)
    convolve = depthwise_pair
    if how == 'triton':
        from .triton_kernels import depthwise_pair as convolve
    kernel_x, kernel_o = folded(*factors)
    if affine is None or affine.normalize:
        return x + drop_path(norm(convolve(x, o, kernel_x, kernel_o)))
    gamma, beta = scaled(affine, kept(drop_path, x))
    kernel_x = F.pad(torch.ones_like(kernel_x[..., :1]), (4, 4)) + gamma[..., None] * kernel_x
    return convolve(x, o, kernel_x, gamma[..., None] * kernel_o, beta)


def mix(o: Tensor, v: Tensor, score: Tensor, decay: Tensor, gate: Optional[Tensor],
        excite: Optional[Tensor]) -> Tensor:
    """``o_l = decay * (gate * o_{l-1} + dw(o_{l-1}; excite)) + score * v_l``, (B, C, H, W)."""
    past = o if gate is None else per_channel(gate.to(o.dtype)) * o
    if excite is not None:
        past = past + F.conv2d(o, excite, padding=1, groups=o.shape[1])
    return per_channel(decay.to(o.dtype)) * past + per_channel(score.to(v.dtype)) * v


def light_kernels(x: Tensor, o: Tensor, factors: Sequence[Optional[Tensor]], affine: Affine,
                  norm: nn.Module, drop_path: nn.Module) -> Tensor:
    """The same by the C++ kernels."""
    gamma, beta, normalize, eps = affine
    inputs = (x, o, *factors, gamma, beta, kept(drop_path, x), eps, normalize)
    if records(x, o, *factors, gamma, beta):
        out, mean, var = kernels().light(*inputs)
    else:
        out, mean, var = x, torch.empty_like(gamma), torch.empty_like(gamma)
        kernels().light_out(*inputs, out, mean, var)
    if normalize:
        track(norm, mean, var, x.numel() // x.shape[1])
    return out


def folded(value: Tensor, score: Tensor, decay: Tensor, gate: Optional[Tensor],
           excite: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
    """Depthwise kernels of x, (B, C, 9), and of o, (B, C, 9) or, the centre alone, (B, C, 1).

    A factor per sample and channel commutes with a depthwise convolution:
    ``score * dw(x; value) = dw(x; score * value)`` and
    ``decay * (gate * o + dw(o; excite)) = dw(o; decay * (gate * delta + excite))``.
    """
    centre = (torch.ones_like(score) if gate is None else gate)[..., None]
    if excite is not None:
        centre = F.pad(centre, (4, 4)) + excite.flatten(1)
    return score[..., None] * value.flatten(1), decay[:, None] * centre


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
