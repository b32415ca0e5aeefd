"""The last step of a layer of MRLA-B or DLA-B as one operation: ``x + DropPath(ReLU(norm(o_l)))``."""
from typing import Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backend import implementation, needs_grad
from .norm import (
    accumulator,
    bn_affine,
    drop_path_scale,
    is_bn_affine,
    runs_forward_of,
    update_running_stats,
)

Maps = Tuple[Tensor, ...]


def base_is_fast(x: Tensor, past: Maps, norm: nn.Module, *convolutions: nn.Module) -> bool:
    """Whether :func:`base_attention` takes these maps, this norm, and the weights of a convolution."""
    how = implementation(x, *past)
    kernels = how == 'kernels' and x.is_contiguous() and is_bn_affine(norm, x)
    return ((how == 'triton' or kernels)
            and all(runs_forward_of(c, nn.Conv2d) for c in convolutions))


def base_attention(x: Tensor, value_weight: Tensor, weights: Tensor, past: Maps, norm: nn.Module,
                   drop_path: nn.Module) -> Tuple[Tensor, Maps]:
    """``x + DropPath(ReLU(norm(sum_t w_t v_t)))`` with ``v_l = dw(x; value_weight)``.

    Only for maps, convolutions and norms for which :func:`base_is_fast`.

    Args:
        x (Tensor): Block output, (B, C, H, W). May be overwritten where no gradient is needed.
        value_weight (Tensor): Of the depthwise 3x3 convolution that makes v_l, (C, 1, 3, 3).
        weights (Tensor): w_1 to w_l, (B, l, C).
        past (tuple[Tensor]): v_1 to v_{l-1} as the layer before returned them, (B, C, H, W) each.
        norm (nn.Module): Norm of the layer.
        drop_path (nn.Module): Its DropPath.

    Returns:
        tuple: The next block's input, (B, C, H, W), and the values v_1 to v_l.
    """
    if implementation(x, *past) == 'triton':
        from .triton_kernels import weighted_sum
        values = (*past, F.conv2d(x, value_weight, padding=1, groups=x.shape[1]))
        return x + drop_path(F.relu(norm(weighted_sum(weights, values)))), values
    dtype = accumulator(x.dtype)
    gamma, beta, normalize, eps = bn_affine(norm, x)
    inputs = (x, value_weight.to(dtype).contiguous(), weights.to(dtype).contiguous(), past, gamma, beta,
              drop_path_scale(drop_path, x), eps, normalize)
    if torch.compiler.is_compiling():
        out, v, mean, var = torch.ops.mmdla.base(*inputs)
    elif needs_grad(x, value_weight, weights, *past, gamma, beta):
        out, v, mean, var, past = torch.ops.mmdla.base_chained(*inputs)
    else:
        out, v, mean, var = x, torch.empty_like(x), torch.empty_like(gamma), torch.empty_like(gamma)
        torch.ops.mmdla.base_out(*inputs, out, v, mean, var)
    if normalize:
        update_running_stats(norm, mean, var, x.numel() // x.shape[1])
    return out, (*past, v)
