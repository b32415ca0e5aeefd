"""``o_l = sum_t w_t v_t``, the sum over layers of the base forms (MRLA, Eq. 2)."""
from typing import Sequence

import torch
from torch import Tensor


def per_channel(scale: Tensor) -> Tensor:
    """(..., C) to (..., C, 1, 1), to multiply a feature map."""
    return scale[..., None, None]


def weighted_sum(weights: Tensor, values: Sequence[Tensor]) -> Tensor:
    """``o_l = sum_t w_t v_t``.

    Nothing but the values, which other layers share, and the weights is kept for the gradient.

    Args:
        weights (Tensor): (B, l, C).
        values (sequence of Tensor): l maps, each (B, C, H, W).

    Returns:
        Tensor: (B, C, H, W).
    """
    first, *others = (per_channel(w) for w in weights.to(values[0].dtype).unbind(1))
    out = first * values[0]
    for w, v in zip(others, values[1:]):
        out = torch.addcmul(out, w, v)
    return out
