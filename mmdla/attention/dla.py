"""Dynamic layer attention (DLA), not deep layer aggregation.

*Strengthening Layer Interaction via Dynamic Layer Attention*, IJCAI 2024.
"""
from typing import Optional, Tuple

import torch
from torch import Tensor, nn

from mmdla.errors import UserError, choose
from mmdla.ops import (
    channel_convolution,
    gap,
    light_attention,
    light_is_fast,
    scale,
    weighted_sum,
)
from mmdla.registry import MODELS

from .context_unit import ContextUnit, build_context_unit
from .layer_attention import LightLayerAttention
from .mrla import BaseLayerAttention, append_layer
from .qkv import softmax_over_layers


class Context(nn.Module):
    """The dual path (section 3): a context c_l of the layers so far refreshes their features.

    Forward path: ``c_l = Dyn(GAP(x_l), c_{l-1})``. Backward path: ``d_t = Dyn(GAP(x_t), c_l)``, with
    each sample's own context.

    Args:
        channels (int): C.
        unit (ContextUnit): Dyn.
        refresh_by (str): d_t is the unit's 'output', which is sigmoid(c) of the DSU (the released
            code), or the 'context' c itself (Eq. 6 read literally).
        initial_context (str): c_0: 'zeros' or 'learned'.
    """

    def __init__(self, channels: int, unit: ContextUnit, refresh_by: str, initial_context: str) -> None:
        super().__init__()
        self.unit = unit
        self.by_output = choose('refresh_by', refresh_by, dict(output=True, context=False))
        learned = choose('initial_context', initial_context, dict(zeros=False, learned=True))
        self.initial = nn.Parameter(torch.randn(channels)) if learned else None

    def initial_state(self, x: Tensor):
        """State of Dyn ahead of the first layer, for maps like x (B, *, H, W)."""
        if self.initial is None:
            return None
        return self.unit.initial_state(self.initial.to(x.dtype).expand(x.shape[0], -1))

    def forward_path(self, y: Tensor, state):
        """State of Dyn after a layer with channel means y, (B, C)."""
        return self.unit(y, state)

    def backward_path(self, y: Tensor, state) -> Tensor:
        """d_t for earlier features with channel means y, (B, C), or of t layers, (B, t, C)."""
        if y.dim() == 3:
            state = tuple(s[:, None] for s in state) if isinstance(state, tuple) else state[:, None]
        state = self.unit(y, state)
        return self.unit.output(state) if self.by_output else self.unit.context(state)


@MODELS.register_module()
class DLALight(LightLayerAttention):
    """DLA-L: MRLA-L with ``o_{l-1}`` refreshed by a context.

    ``o_{l-1} <- o_{l-1} * d + E(o_{l-1})`` with ``d = Dyn(GAP(o_{l-1}), c_l)``. The state c is Dyn's;
    y and z are the channel means of x_l and o_{l-1}.

    Args:
        channels, num_layers, norm_cfg: See :class:`Interaction`.
        dim_per_head, drop_path_rate, pre_norm: See :class:`LayerAttention`.
        context_unit (dict, optional): Config of Dyn, by default ``dict(type='mmdla.DSU')``.
        refresh_by, initial_context: See :class:`Context`.
        excite (bool): Whether to have E, a depthwise 3x3 convolution shared by the stage's
            layers: in the released code and in most published parameter counts, not in the paper's
            text.
    """

    num_means = 2

    def __init__(self,
                 channels: int,
                 num_layers: int,
                 norm_cfg: dict,
                 dim_per_head: int = 32,
                 drop_path_rate: float = 0.0,
                 pre_norm: bool = False,
                 context_unit: Optional[dict] = None,
                 refresh_by: str = 'output',
                 initial_context: str = 'zeros',
                 excite: bool = True) -> None:
        super().__init__(channels, num_layers, norm_cfg, dim_per_head, drop_path_rate, pre_norm)
        unit = build_context_unit(context_unit, channels, self.default_unit)
        self.context = Context(channels, unit, refresh_by, initial_context)
        self.excite = nn.Conv2d(
            channels, channels, 3, padding=1, groups=channels, bias=False) if excite else None

    def initial_state(self, x: Tensor, state):
        return self.context.initial_state(x)

    def forward(self, index: int, x: Tensor, o: Tensor, c, y: Optional[Tensor] = None,
                z: Optional[Tensor] = None) -> Tuple[Tensor, object]:
        layer, norm = self.layers[index], self.norms[index]
        u, o = self.norm_inputs(index, x, o) if self.pre_norm else (x, o)
        y, z = gap(u) if y is None else y, gap(o) if z is None else z
        c = self.context.forward_path(y, c)
        d = self.context.backward_path(z, c)
        score = layer.score(y)
        if self.recorder is not None:
            self.record(index, score[:, None], layer.lambda_l * d)
        if not self.pre_norm and light_is_fast(x, o, norm, layer.value, self.excite):  # fused: the rest
            e = None if self.excite is None else self.excite.weight
            return light_attention(x, o, layer.value.weight, score, layer.lambda_l, d, e, norm,
                                   self.drop_path), c
        e = 0 if self.excite is None else self.excite(o)
        o = scale(o, d) + e  # refresh of o_{l-1}, and the released code's E
        o = scale(o, layer.lambda_l) + scale(self.value_act(layer.value(u)), score)
        return x + self.attention_branch(index, o), c


@MODELS.register_module()
class DLABase(BaseLayerAttention):
    """DLA-B: MRLA-B over earlier layers refreshed by a context.

    :meth:`definition` is the form in the paper, which rewrites all earlier maps at every layer. A
    factor of each channel commutes with GAP and the depthwise convolution of v_t, so that
    :meth:`forward` computes each v_t once and accumulates its refreshes in a product S_t:
    ``o_l = sum_t (a_lt * S_t) v_t``, the same with memory linear in depth.

    Args:
        channels, num_layers, norm_cfg: See :class:`Interaction`.
        dim_per_head, drop_path_rate, pre_norm: See :class:`LayerAttention`.
        group, layer_scale: See :class:`BaseLayerAttention`.
        context_unit (dict, optional): Config of Dyn, by default ``dict(type='mmdla.DSU')``.
        refresh_by, initial_context: See :class:`Context`.
        refresh (str): 'features' (the paper): ``x_t <- x_t * d_t`` with ``d_t = Dyn(y_t, c_l)``, and
            y_t, k_t and v_t follow. 'tokens' (the released code): k_t and v_t are refreshed on
            their own, by ``Dyn(k_t, c_l)`` and ``Dyn(GAP(v_t), c_l)``.

    Raises:
        UserError: For a stage or group of one layer, which has none to refresh.
    """

    min_layers = 2

    def __init__(self,
                 channels: int,
                 num_layers: int,
                 norm_cfg: dict,
                 dim_per_head: int = 16,
                 drop_path_rate: float = 0.0,
                 pre_norm: bool = False,
                 group: Optional[int] = None,
                 layer_scale: bool = False,
                 context_unit: Optional[dict] = None,
                 refresh_by: str = 'output',
                 initial_context: str = 'zeros',
                 refresh: str = 'features') -> None:
        super().__init__(channels, num_layers, norm_cfg, dim_per_head, drop_path_rate, pre_norm, group,
                         layer_scale)
        if min(self.group, num_layers) < 2:
            raise UserError('DLA-B refreshes earlier layers, and a group or stage of one block has '
                            'none: choose group=2 or more.')
        unit = build_context_unit(context_unit, channels, self.default_unit)
        self.context = Context(channels, unit, refresh_by, initial_context)
        self.refresh_tokens = choose('refresh', refresh, dict(features=False, tokens=True))

    def forward(self, index: int, x: Tensor, o: Tensor, state,
                y: Optional[Tensor] = None) -> Tuple[Tensor, tuple]:
        c, past, values = (self.context.initial_state(x), None, ()) if index % self.group == 0 else state
        u = self.norms[index](x) if self.pre_norm else x
        y = gap(u) if y is None else y
        c = self.context.forward_path(y, c)
        q, k = self.layers[index].query_and_key(y)
        if self.refresh_tokens:
            keys, products, past = self.refreshed_tokens(index, y, k, values, c, past)
        else:
            keys, products, past = self.refreshed_features(index, y, k, c, past)
        a = softmax_over_layers(q, keys, self.dim_per_head)
        if self.recorder is not None:
            self.record(index, a)
        x, values = self.attend(index, x, u, a * products, values)
        return x, (c, past, values)

    def refreshed_features(self, index: int, y: Tensor, k: Tensor, c, past: Optional[tuple]) -> tuple:
        """Refresh the earlier layers through their means y_t.

        Args:
            index (int): Layer in the stage, from 0.
            y (Tensor): Channel means of x_l, (B, C).
            k (Tensor): k_l, (B, C).
            c: State of Dyn.
            past (tuple, optional): Means y_t and products S_t after the layer before, (B, l - 1, C)
                each; None in the first layer.

        Returns:
            tuple: k_1 ... k_l and S_1 ... S_l, (B, l, C) each, and ``past`` for the next layer.
        """
        if past is None:
            means, products, keys = y[:, None], torch.ones_like(y)[:, None], k[:, None]
        else:
            means, products = past
            d = self.context.backward_path(means, c)
            means, products = means * d, products * d
            keys = append_layer(self.keys_of(means, index), k)
            means, products = append_layer(means, y), append_layer(products, torch.ones_like(y))
        return keys, products, (means, products)

    def refreshed_tokens(self, index: int, y: Tensor, k: Tensor, values: Tuple[Tensor, ...], c,
                         past: Optional[tuple]) -> tuple:
        """Refresh the earlier layers' keys and values, these through their means; see above.

        ``past`` has the keys, too, and values are v_1 ... v_{l-1} without their refreshes.
        """
        keys, means, products = past or (None, None, None)
        if past is not None:
            means = append_layer(means, gap(values[-1]))
            d_k, d_v = self.context.backward_path(torch.cat([keys, means], 1), c).chunk(2, 1)
            keys, means, products = keys * d_k, means * d_v, products * d_v
        keys, products = append_layer(keys, k), append_layer(products, torch.ones_like(y))
        return keys, products, (keys, means, products)

    def keys_of(self, means: Tensor, index: int) -> Tensor:
        """k_1 ... k_t of layers up to index from their means, (B, t, C), in one operation."""
        first = index - means.shape[1]
        weights = torch.cat([layer.key.weight for layer in self.layers[first:index]])
        return channel_convolution(means, weights)[:, :, 0]

    def definition(self, index: int, x: Tensor, o: Tensor, state) -> Tuple[Tensor, tuple]:
        """:meth:`forward` with refresh='features' as in the paper; its memory is quadratic in depth."""
        c, features = (self.context.initial_state(x), ()) if index % self.group == 0 else state
        u = self.norms[index](x) if self.pre_norm else x
        c = self.context.forward_path(gap(u), c)
        d = [self.context.backward_path(gap(x_t), c) for x_t in features]
        features = [scale(x_t, d_t) for x_t, d_t in zip(features, d)]  # DLA Eq. 6
        features = [*features, u]
        layers = self.layers[index + 1 - len(features):index + 1]
        q, _ = layers[-1].query_and_key(gap(u))
        keys = torch.stack([layer.query_and_key(gap(x_t))[1] for layer, x_t in zip(layers, features)], 1)
        values = [layer.value(x_t) for layer, x_t in zip(layers, features)]
        a = softmax_over_layers(q, keys, self.dim_per_head)
        return x + self.attention_branch(index, weighted_sum(a, values)), (c, features)
