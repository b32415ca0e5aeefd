"""Multi-head recurrent layer attention (MRLA).

*Cross-Layer Retrospective Retrieving via Layer Attention*, ICLR 2023.
"""
from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdla.errors import UserError
from mmdla.ops import (
    base_attention,
    base_is_fast,
    gap,
    light_attention,
    light_is_fast,
    scale,
    weighted_sum,
)
from mmdla.registry import MODELS

from .layer_attention import LayerAttention, LightLayerAttention
from .qkv import softmax_over_layers


@MODELS.register_module()
class MRLALight(LightLayerAttention):
    """MRLA-L: ``o_l = lambda_l * o_{l-1} + sigmoid(s_ll) v_l``.

    Args:
        channels, num_layers, norm_cfg: See :class:`Interaction`.
        dim_per_head, drop_path_rate, pre_norm: See :class:`LayerAttention`.
    """

    def __init__(self, channels: int, num_layers: int, norm_cfg: dict, dim_per_head: int = 32,
                 drop_path_rate: float = 0.0, pre_norm: bool = False) -> None:
        super().__init__(channels, num_layers, norm_cfg, dim_per_head, drop_path_rate, pre_norm)

    def forward(self, index: int, x: Tensor, o: Tensor, state,
                y: Optional[Tensor] = None) -> Tuple[Tensor, object]:
        layer, norm = self.layers[index], self.norms[index]
        u, o = self.norm_inputs(index, x, o) if self.pre_norm else (x, o)
        score = layer.score(gap(u) if y is None else y)
        if self.recorder is not None:
            self.record(index, score[:, None], layer.lambda_l)
        if not self.pre_norm and light_is_fast(x, o, norm, layer.value):  # fused: the rest
            return light_attention(x, o, layer.value.weight, score, layer.lambda_l, None, None, norm,
                                   self.drop_path), state
        v = self.value_act(layer.value(u))
        o = scale(o, layer.lambda_l) + scale(v, score)  # MRLA Eq. 3
        return x + self.attention_branch(index, o), state


class BaseLayerAttention(LayerAttention):
    """The base forms: ``x_l <- x_l + DropPath(ReLU(norm(o_l)))``, without the ReLU if ``pre_norm``.

    Args:
        channels, num_layers, norm_cfg: See :class:`Interaction`.
        dim_per_head, drop_path_rate, pre_norm: See :class:`LayerAttention`.
        group (int, optional): Number of consecutive layers that attend to each other, 4 on vision
            transformers; by default all of the stage.
        layer_scale (bool): Whether a learned scale s_l of each channel, (C, ), follows the ReLU,
            ``x_l <- x_l + DropPath(s_l * ReLU(norm(o_l)))``; it is in neither paper. With norms of gamma
            0 the ReLU would pass no gradient; ``attention_init='zero'`` sets s_l = 0 instead, and the
            network starts as the plain trunk and trains. Otherwise s_l starts at 1.

    Raises:
        UserError: For a ``group`` below 1, or ``layer_scale`` with ``pre_norm``, which has no ReLU.
    """

    softmax = True
    for_tokens = dict(pre_norm=True, dim_per_head=16, group=4)

    def __init__(self, channels: int, num_layers: int, norm_cfg: dict, dim_per_head: int,
                 drop_path_rate: float, pre_norm: bool, group: Optional[int], layer_scale: bool) -> None:
        super().__init__(channels, num_layers, norm_cfg, dim_per_head, drop_path_rate, pre_norm)
        if group is not None and group < 1:
            raise UserError(f'group must be 1 or more layers; got {group}.')
        if layer_scale and pre_norm:
            raise UserError('layer_scale is for the form with a ReLU, and pre_norm=True, the form of '
                            'transformers, has none and starts from attention_init=\'zero\' without: '
                            'leave it out.')
        self.group = group or num_layers
        self.zero_start = pre_norm or layer_scale  # a zero passes no gradient through a ReLU
        self.scales = nn.ParameterList(
            torch.ones(channels) for _ in range(num_layers)) if layer_scale else None

    def attention_branch(self, index: int, o: Tensor) -> Tensor:
        if self.pre_norm:
            return o
        o = F.relu(self.norms[index](o))
        return self.drop_path(o if self.scales is None else scale(o, self.scales[index]))

    def init_weights(self, attention_init: str) -> None:
        if self.scales is None:
            super().init_weights(attention_init)
            return
        zero = attention_init == 'zero'
        super().init_weights('scaled' if zero else attention_init)
        for s in self.scales:
            nn.init.constant_(s, 0.0 if zero else 1.0)

    def attend(self, index: int, x: Tensor, u: Tensor, a: Tensor,
               values: Tuple[Tensor, ...]) -> Tuple[Tensor, Tuple[Tensor, ...]]:
        """The next block's input, from ``o_l = sum_t a_lt v_t``, and the values v_1 ... v_l.

        Args:
            index (int): Layer in the stage, from 0.
            x (Tensor): x_l, (B, C, H, W).
            u (Tensor): What v_l is made from: x_l or its norm.
            a (Tensor): a_l1 ... a_ll, (B, l, C).
            values (tuple[Tensor]): v_1 ... v_{l-1}, (B, C, H, W) each.
        """
        layer, norm = self.layers[index], self.norms[index]
        plain = not self.pre_norm and self.scales is None
        if plain and base_is_fast(x, values, norm, layer.value):  # fused: the rest of this method
            return base_attention(x, layer.value.weight, a, values, norm, self.drop_path)
        values = (*values, layer.value(u))
        o = weighted_sum(a, values)  # MRLA Eq. 2
        return x + self.attention_branch(index, o), values


@MODELS.register_module()
class MRLABase(BaseLayerAttention):
    """MRLA-B: ``o_l = sum_t softmax_t(s_lt) v_t`` over the layers t of the stage so far.

    The state holds the keys, (B, l, C), and the values, l maps (B, C, H, W).

    Args:
        channels, num_layers, norm_cfg: See :class:`Interaction`.
        dim_per_head, drop_path_rate, pre_norm: See :class:`LayerAttention`.
        group, layer_scale: See :class:`BaseLayerAttention`.
    """

    def __init__(self, channels: int, num_layers: int, norm_cfg: dict, dim_per_head: int = 16,
                 drop_path_rate: float = 0.0, pre_norm: bool = False,
                 group: Optional[int] = None, layer_scale: bool = False) -> None:
        super().__init__(channels, num_layers, norm_cfg, dim_per_head, drop_path_rate, pre_norm, group,
                         layer_scale)

    def forward(self, index: int, x: Tensor, o: Tensor, state,
                y: Optional[Tensor] = None) -> Tuple[Tensor, tuple]:
        keys, values = (None, ()) if index % self.group == 0 else state
        u = self.norms[index](x) if self.pre_norm else x
        q, k = self.layers[index].query_and_key(gap(u) if y is None else y)
        keys = append_layer(keys, k)
        a = softmax_over_layers(q, keys, self.dim_per_head)
        if self.recorder is not None:
            self.record(index, a)
        x, values = self.attend(index, x, u, a, values)
        return x, (keys, values)


def append_layer(past: Optional[Tensor], new: Tensor) -> Tensor:
    """Rows of the layers so far (B, l - 1, C) and that of the newest (B, C): (B, l, C)."""
    return new[:, None] if past is None else torch.cat([past, new[:, None]], 1)
