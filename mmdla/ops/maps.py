"""Small operations on feature maps (B, C, H, W) in plain PyTorch."""
from typing import Sequence

import torch
from torch import Tensor


def gap(x: Tensor) -> Tensor:
    """Global average pooling, (B, C, H, W) to (B, C)."""
    return x.mean((2, 3))


def scale(x: Tensor, factor: Tensor) -> Tensor:
    """Multiply each channel by a factor, in the dtype of x.

    Args:
        x (Tensor): (B, C, H, W).
        factor (Tensor): (B, C), or (C, ) for all samples.

    Returns:
        Tensor: (B, C, H, W).
    """
    return x * factor.to(x.dtype)[..., None, None]


def weighted_sum(weights: Tensor, values: Sequence[Tensor]) -> Tensor:
    """``sum_t w_t v_t``, the sum over layers in the base forms.

    Autograd saves the weights and the values only, no products.

    Args:
        weights (Tensor): w_1 to w_l, (B, l, C).
        values (sequence of Tensor): v_1 to v_l, (B, C, H, W) each.

    Returns:
        Tensor: (B, C, H, W).
    """
    first, *others = weights.to(values[0].dtype).unbind(1)
    out = scale(values[0], first)
    for w, v in zip(others, values[1:]):
        out = torch.addcmul(out, w[..., None, None], v)
    return out
