"""Layer interactions: how a stage joins its blocks.

An interaction gets the branch and the shortcut of block l and returns the input of block
l + 1 together with a state that lives inside one forward call.
"""
from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from mmdla.errors import UserError, choose
from mmdla.ops import (
    add_relu,
    add_relu_mean,
    base_attention,
    base_is_fast,
    channel_convolution,
    gap,
    light_attention,
    light_is_fast,
    scale,
    weighted_sum,
)

from .context_unit import State, build_context_unit
from .mrla import LayerAttention, LightLayerAttention, softmax_over_layers


class Residual(nn.Module):
    """``x_l = ReLU(branch + shortcut)``: the plain ResNet.

    Args:
        channels (int): C of the stage.
        num_layers (int): Blocks in the stage.
        norm_cfg (dict): The trunk's norm.
    """

    def __init__(self, channels: int, num_layers: int, norm_cfg: dict) -> None:
        super().__init__()

    def read(self, x: Tensor, state) -> Optional[Tensor]:
        """What the next block's first convolution reads, if not its input x (B, C, H, W)."""
        return None

    def forward(self, index: int, branch: Tensor, shortcut: Tensor, state) -> Tuple[Tensor, object]:
        """
        Args:
            index (int): Layer in the stage, from 0.
            branch (Tensor): Residual branch of the block, (B, C, H, W).
            shortcut (Tensor): Its shortcut, (B, C, H, W).
            state: What the call for the layer before returned; None for the first.

        Returns:
            tuple: The next block's input, (B, C, H, W), and the state.
        """
        return add_relu(branch, shortcut), state


class LII(Residual):
    """``x_l = ReLU(branch * h_l + shortcut)``, h_l the unit's output on GAP(branch).

    DIANet (AAAI 2020) with the unit DIA; the others are rows of DLA, Table 6.

    Args:
        context_unit (dict): Config of the unit, one for all layers of the stage.
    """

    def __init__(self, channels: int, num_layers: int, norm_cfg: dict, context_unit: dict) -> None:
        super().__init__(channels, num_layers, norm_cfg)
        self.context_unit = build_context_unit(channels, **context_unit)

    def forward(self, index: int, branch: Tensor, shortcut: Tensor,
                state: Optional[State]) -> Tuple[Tensor, State]:
        y = gap(branch)
        state = self.context_unit(y, self.context_unit.start(y) if state is None else state)
        scaled = scale(branch, self.context_unit.output(state))
        return F.relu(scaled + shortcut, inplace=True), state


class MRLA(Residual):
    """What the four forms of layer attention share: own q, k, v and norm for each layer.

    Args:
        dim_per_head (int): Channels of one attention head.
        drop_path_rate (float): Stochastic depth of the attention branch.
    """

    attention = LayerAttention

    def __init__(self,
                 channels: int,
                 num_layers: int,
                 norm_cfg: dict,
                 dim_per_head: int,
                 drop_path_rate: float = 0.0) -> None:
        super().__init__(channels, num_layers, norm_cfg)
        self.layers = nn.ModuleList(
            self.attention(channels, dim_per_head) for _ in range(num_layers))
        self.norms = nn.ModuleList(
            build_norm_layer(norm_cfg, channels)[1] for _ in range(num_layers))
        self.drop_path = DropPath(drop_path_rate)


class MRLALight(MRLA):
    """``x_l <- x_l + DropPath(BN(o_l))`` with ``o_l`` of MRLA, Eq. 3.

    ``o_{l-1}`` is the block's own shortcut, since the block before has already added its o
    to its output.
    """

    attention = LightLayerAttention
    reads_past = False

    def __init__(self, channels: int, num_layers: int, norm_cfg: dict, dim_per_head: int = 32,
                 drop_path_rate: float = 0.0) -> None:
        super().__init__(channels, num_layers, norm_cfg, dim_per_head, drop_path_rate)

    def forward(self, index: int, branch: Tensor, shortcut: Tensor, state) -> Tuple[Tensor, object]:
        x, o, y, z = add_relu_mean(branch, shortcut, both=self.reads_past)
        factors, state = self.factors(index, y, z, state)
        value, norm = self.layers[index].value, self.norms[index]
        if light_is_fast(x, o):
            return light_attention(x, o, value.weight, *factors, norm, self.drop_path), state
        return x + self.drop_path(norm(light_sum(o, value(x), *factors))), state

    def factors(self, index: int, y: Tensor, z: Optional[Tensor], state) -> Tuple[tuple, object]:
        """Score, lambda_l, d and weight of E of :func:`mmdla.ops.light_attention`; the new state.

        Args:
            index (int): Layer in the stage, from 0.
            y (Tensor): Channel means of x_l, (B, C).
            z (Tensor, optional): Those of o_{l-1}, if the form reads them.
            state: That of the layer before.
        """
        layer = self.layers[index]
        return (layer.score(y), layer.lambda_t, None, None), state


def light_sum(o: Tensor, v: Tensor, score: Tensor, lambda_l: Tensor, d: Optional[Tensor],
              excite_weight: Optional[Tensor]) -> Tensor:
    """``o_l = lambda_l * (d * o_{l-1} + E(o_{l-1})) + score * v_l``, (B, C, H, W)."""
    past = o if d is None else scale(o, d)
    if excite_weight is not None:
        past = past + F.conv2d(o, excite_weight, padding=1, groups=o.shape[1])
    return scale(past, lambda_l) + scale(v, score)


class MRLABase(MRLA):
    """``x_l <- x_l + DropPath(ReLU(BN(o_l)))`` with ``o_l`` of MRLA, Eq. 2.

    The state holds the keys, (B, l, C), and the values, l maps (B, C, H, W).
    """

    def __init__(self, channels: int, num_layers: int, norm_cfg: dict, dim_per_head: int = 16,
                 drop_path_rate: float = 0.0) -> None:
        super().__init__(channels, num_layers, norm_cfg, dim_per_head, drop_path_rate)

    def forward(self, index: int, branch: Tensor, shortcut: Tensor,
                state: Optional[tuple]) -> Tuple[Tensor, tuple]:
        x, _, y, _ = add_relu_mean(branch, shortcut)
        tokens, values = state or (None, ())
        weights, tokens = self.weights(index, y, values, tokens)
        value, norm = self.layers[index].value, self.norms[index]
        if base_is_fast(x, values, norm):
            out, values = base_attention(x, value.weight, weights, values, norm, self.drop_path)
            return out, (tokens, values)
        values = (*values, value(x))
        out = x + self.drop_path(F.relu(norm(weighted_sum(weights, values))))
        return out, (tokens, values)

    def weights(self, index: int, y: Tensor, values: Tuple[Tensor, ...],
                keys: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        """Weights w_1 ... w_l of the value maps, (B, l, C), and what the next layer's need.

        Args:
            index (int): Layer in the stage, from 0.
            y (Tensor): Channel means of x_l, (B, C).
            values (tuple[Tensor]): v_1 ... v_{l-1}.
            keys: What the call for the layer before returned; None for the first.
        """
        layer = self.layers[index]
        query, key = layer.query_and_key(y)
        keys = join(keys, key[:, None])
        return self.scores(layer, query, keys), keys

    def scores(self, layer: LayerAttention, query: Tensor, keys: Tensor) -> Tensor:
        """a_l1 ... a_ll of Eq. 2, (B, l, C), from q_l (B, C) and k_1 ... k_l (B, l, C)."""
        return softmax_over_layers(query[:, None], keys, layer.dim_per_head)


def join(past: Optional[Tensor], new: Tensor) -> Tensor:
    """Rows of the layers so far (B, l - 1, C) and of the newest (B, 1, C): (B, l, C)."""
    return new if past is None else torch.cat([past, new], 1)


class Dynamic:
    """The dual path of DLA (section 3), a mixin for the light and the base form.

    Forward path, the context of the layers so far: ``c_l = Dyn(GAP(x_l), c_{l-1})``.
    Backward path, ``d = gate(Dyn(y, c_l))``: each sample's own context refreshes its earlier
    features.

    Args:
        context_unit (dict): Config of Dyn, one for all layers of the stage.
        gate (str): 'sigmoid': the unit's output multiplies the features, which is sigmoid(c) of
            the DSU (the released code). 'identity': c itself does (Eq. 6 read literally).
        initial_context (str): ``c_0``: 'zeros' or 'learned'.
    """

    def add_dynamics(self, channels: int, context_unit: Optional[dict], gate: str,
                     initial_context: str) -> None:
        self.context_unit = build_context_unit(channels, **(context_unit or {}))
        self.gate = choose('gate', gate, dict(sigmoid='output', identity='context'))
        learned = choose('initial_context', initial_context, dict(zeros=False, learned=True))
        self.initial_context = nn.Parameter(torch.randn(channels)) if learned else None

    def forward_path(self, y: Tensor, state: Optional[State]) -> State:
        """State of Dyn after a layer with channel means y (B, C)."""
        if state is None:
            state = self.context_unit.start(y, self.initial_context)
        return self.context_unit(y, state)

    def backward_path(self, y: Tensor, state: State) -> Tensor:
        """Gates of earlier features with channel means y, (B, C) or (B, t, C)."""
        if y.dim() == 3:
            state = tuple(s[:, None] for s in state)
        return getattr(self.context_unit, self.gate)(self.context_unit(y, state))


class DLALight(Dynamic, MRLALight):
    """MRLA-L whose ``o_{l-1}`` is refreshed by a context first (DLA-L).

    ``o_{l-1} <- o_{l-1} * gate(Dyn(GAP(o_{l-1}), c_l)) + E(o_{l-1})``; lambda_l multiplies both
    terms. The state is Dyn's.

    Args:
        context_unit, gate, initial_context: See :class:`Dynamic`.
        excite (bool): Whether to have E, a depthwise 3x3 convolution shared by the stage's
            layers: in the released code and in most published counts, not in the paper's text.
    """

    reads_past = True

    def __init__(self,
                 channels: int,
                 num_layers: int,
                 norm_cfg: dict,
                 dim_per_head: int = 32,
                 drop_path_rate: float = 0.0,
                 context_unit: Optional[dict] = None,
                 gate: str = 'sigmoid',
                 initial_context: str = 'zeros',
                 excite: bool = True) -> None:
        super().__init__(channels, num_layers, norm_cfg, dim_per_head, drop_path_rate)
        self.add_dynamics(channels, context_unit, gate, initial_context)
        self.excite = nn.Conv2d(
            channels, channels, 3, padding=1, groups=channels, bias=False) if excite else None

    def factors(self, index: int, y: Tensor, z: Tensor,
                state: Optional[State]) -> Tuple[tuple, State]:
        layer = self.layers[index]
        state = self.forward_path(y, state)
        d = self.backward_path(z, state)
        excite = None if self.excite is None else self.excite.weight
        return (layer.score(y), layer.lambda_t, d, excite), state


class DLABase(Dynamic, MRLABase):
    """MRLA-B over layers that a context refreshes first (DLA-B).

    Means and depthwise convolutions commute with a factor per channel. So each value map is
    computed once and kept as it is, and the gates of its refreshes are multiplied up in a
    factor S_t: ``o_l = sum_t (a_lt * S_t) v_t``.

    Args:
        context_unit, gate, initial_context: See :class:`Dynamic`.
        refresh (str): 'features' (Eq. 6): ``x_t <- x_t * d_t`` with ``d_t = gate(Dyn(y_t, c_l))``,
            from which y_t, k_t and v_t follow. 'tokens' (the released code): k_t and v_t are
            refreshed on their own, by ``gate(Dyn(k_t, c_l))`` and ``gate(Dyn(GAP(v_t), c_l))``.
    """

    def __init__(self,
                 channels: int,
                 num_layers: int,
                 norm_cfg: dict,
                 dim_per_head: int = 16,
                 drop_path_rate: float = 0.0,
                 context_unit: Optional[dict] = None,
                 gate: str = 'sigmoid',
                 initial_context: str = 'zeros',
                 refresh: str = 'features') -> None:
        super().__init__(channels, num_layers, norm_cfg, dim_per_head, drop_path_rate)
        if num_layers < 2:
            raise UserError('DLA-B refreshes earlier layers, and a stage of one block has none: choose '
                            'a depth with two blocks or more in every stage.')
        self.add_dynamics(channels, context_unit, gate, initial_context)
        self.refresh = choose(
            'refresh', refresh,
            dict(features=DLABase.refreshed_features, tokens=DLABase.refreshed_tokens))

    def weights(self, index: int, y: Tensor, values: Tuple[Tensor, ...],
                past: Optional[tuple]) -> Tuple[Tensor, tuple]:
        layer, (dyn, tokens) = self.layers[index], past or (None, None)
        dyn = self.forward_path(y, dyn)
        query, key = layer.query_and_key(y)
        keys, factors, tokens = self.refresh(self, y[:, None], key[:, None], values, dyn, tokens)
        return self.scores(layer, query, keys) * factors, (dyn, tokens)

    def refreshed_features(self, y: Tensor, key: Tensor, values: Tuple[Tensor, ...], dyn: State,
                           past: Optional[tuple]) -> tuple:
        """Keys and factors of all layers so far; the means y_t are what is refreshed."""
        means, factors = past or (None, None)
        if past:
            d = self.backward_path(means, dyn)
            means, factors = means * d, factors * d
            key = join(self.keys_of(means), key)
        means, factors = join(means, y), join(factors, torch.ones_like(y))
        return key, factors, (means, factors)

    def refreshed_tokens(self, y: Tensor, key: Tensor, values: Tuple[Tensor, ...], dyn: State,
                         past: Optional[tuple]) -> tuple:
        """As above; the keys and the means of the values are what is refreshed."""
        keys, means, factors = past or (None, None, None)
        if past:
            means = join(means, gap(values[-1])[:, None])
            d_k, d_v = self.backward_path(torch.cat([keys, means], 1), dyn).chunk(2, 1)
            keys, means, factors = keys * d_k, means * d_v, factors * d_v
        keys, factors = join(keys, key), join(factors, torch.ones_like(y))
        return keys, factors, (keys, means, factors)

    def keys_of(self, y: Tensor) -> Tensor:
        """Keys of the first l layers from their means, (B, l, C), in one operation."""
        weights = torch.cat([layer.key.weight for layer in self.layers[:y.shape[1]]])
        return channel_convolution(y, weights)[:, :, 0]
