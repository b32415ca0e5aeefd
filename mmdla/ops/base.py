"""The last step of a layer of MRLA-B or DLA-B: ``x + DropPath(ReLU(norm(o_l)))`` (MRLA, Eq. 2)."""
from typing import Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backend import accumulator, implementation, kernels, records
from .norm import as_affine, kept, track
from .weighted_sum import weighted_sum

Maps = Tuple[Tensor, ...]


def base_attention(x: Tensor, value: Tensor, weights: Tensor, past: Maps, norm: nn.Module,
                   drop_path: nn.Module) -> Tuple[Tensor, Maps]:
    """``x + DropPath(ReLU(norm(sum_t w_t v_t)))`` with ``v_l = dw(x; value)``.

    Args:
        x (Tensor): Block output, (B, C, H, W). May be overwritten where no gradient is recorded.
        value (Tensor): Weight of the depthwise 3x3 convolution that makes v_l, (C, 1, 3, 3).
        weights (Tensor): Weights of the layers so far, (B, l, C).
        past (tuple[Tensor]): v_1 to v_{l-1} as the layer before returned them, (B, C, H, W) each.
        norm (nn.Module): Norm of the layer.
        drop_path (nn.Module): Its DropPath.

    Returns:
        tuple: The next block's input, (B, C, H, W), and the values v_1 to v_l.
    """
    how = implementation(x, *past)
    affine = as_affine(norm, x) if how == 'kernels' else None
    if affine is None:
        add_up = weighted_sum
        if how == 'triton':
            from .triton_kernels import weighted_sum as add_up
        values = (*past, F.conv2d(x, value, padding=1, groups=x.shape[1]))
        return x + drop_path(F.relu(norm(add_up(weights, values)))), values
    dtype = accumulator(x.dtype)
    gamma, beta, normalize, eps = affine
    inputs = (x, value.to(dtype).contiguous(), weights.to(dtype).contiguous(), past, gamma, beta,
              kept(drop_path, x), eps, normalize)
    if records(x, value, weights, *past, gamma, beta):
        out, mean, var, v, past = kernels().base(*inputs)
    else:
        out, v, mean, var = x, torch.empty_like(x), torch.empty_like(gamma), torch.empty_like(gamma)
        kernels().base_out(*inputs, out, v, mean, var)
    if normalize:
        track(norm, mean, var, x.numel() // x.shape[1])
    return out, (*past, v)
