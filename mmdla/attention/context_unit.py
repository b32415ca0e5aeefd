"""Context units ``Dyn`` (DLA, IJCAI 2024, section 3 and Table 4; DIANet, AAAI 2020)."""
from typing import Optional, Tuple, Union

import torch
from torch import Tensor, nn

from mmdla.errors import UserError, choose
from mmdla.gates.bottleneck import bottleneck
from mmdla.ops import dsu, dsu_is_fast, dsu_update, dsu_update_is_fast
from mmdla.registry import MODELS

from .interaction import check_config, construct, registered

State = Union[Tensor, Tuple[Tensor, ...]]


class ContextUnit(nn.Module):
    """A recurrent cell on channel means; a subclass needs ``forward`` and a place in MODELS.

    The state is the context c. A unit with another state, such as a tuple, overrides ``initial_state``,
    ``output`` and ``context`` too.

    Args:
        channels (int): C.

    Attributes:
        not_compared (tuple[str]): Arguments in which a network may differ from the one that its
            checkpoint was trained in.
    """

    not_compared: Tuple[str, ...] = ('reduction', )

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, y: Tensor, state: Optional[State] = None) -> State:
        """
        Args:
            y (Tensor): Channel means, (..., C).
            state (Tensor | tuple[Tensor], optional): Of the layer before, each tensor broadcastable
                to (..., C), so that one call refreshes all earlier layers; None in the first layer.

        Returns:
            Tensor | tuple[Tensor]: The new state, each (..., C).
        """
        raise NotImplementedError

    def initial_state(self, c: Tensor) -> State:
        """State ahead of the first layer with a learned initial context c, (B, C)."""
        return c

    def output(self, state: State) -> Tensor:
        """What multiplies a feature: (..., C)."""
        return state

    def context(self, state: State) -> Tensor:
        """c: (..., C)."""
        return state


@MODELS.register_module()
class DSU(ContextUnit):
    """Dynamic sharing unit (DLA, Eq. 7-9); sigmoid(c) multiplies a feature.

    Args:
        channels (int): C.
        reduction (int): r; the bottleneck has C // r channels. The papers use 4 on CIFAR
            and 20 on ImageNet and COCO.
        form (str): 'joint': the paper's, 5 C^2 / r weights. 'split' (the released code, 8 C^2 / r
            weights): in place of Eq. 7 the outputs of two biased perceptrons are added, one on y
            and one on norm(c), which is 0 ahead of the first layer.
        normalizer (str): What is applied to c on its way in: 'sigmoid', 'identity', 'tanh' or
            'relu' (paper, Table 5).

    Raises:
        UserError: If r exceeds C, or for an unknown ``form`` or ``normalizer``.
    """

    normalizers = dict(
        sigmoid=torch.sigmoid, identity=nn.Identity(), tanh=torch.tanh, relu=torch.relu)

    def __init__(self,
                 channels: int,
                 reduction: int = 20,
                 form: str = 'joint',
                 normalizer: str = 'sigmoid') -> None:
        super().__init__(channels)
        self.normalizer = choose('normalizer', normalizer, self.normalizers)
        self.joint = choose('form', form, dict(joint=True, split=False))
        self.is_papers = self.joint and normalizer == 'sigmoid'
        if self.joint:
            hidden = bottleneck(channels, reduction)
            self.squeeze = nn.Linear(2 * channels, hidden, bias=False)
            self.expand = nn.Linear(hidden, 3 * channels)
        else:
            self.from_input = perceptron(channels, reduction, 3)
            self.from_context = perceptron(channels, reduction, 3)

    def forward(self, y: Tensor, c: Optional[Tensor] = None) -> Tensor:
        first = c is None
        c = torch.zeros_like(y) if first else c
        if self.is_papers and dsu_is_fast(y, c, self.squeeze, self.expand):  # fused: this method
            return dsu(y, c, self.squeeze, self.expand)
        h = self.normalizer(c)
        if self.joint:
            s = torch.relu(self.squeeze(torch.cat([h.expand_as(y), y], -1)))  # DLA Eq. 7
            pre = self.expand(s)
        else:
            pre = self.from_input(y) + self.from_context(torch.zeros_like(y) if first else h)
        if dsu_update_is_fast(pre, c):  # fused: the rest of this method
            return dsu_update(pre, c)
        i, f, candidate = pre.chunk(3, -1)
        i, f, candidate = i.sigmoid(), f.sigmoid(), candidate.tanh()  # DLA Eq. 8
        return f * c + i * candidate  # DLA Eq. 9

    def output(self, c: Tensor) -> Tensor:
        return c.sigmoid()


@MODELS.register_module()
class RNN(ContextUnit):
    """``c = tanh(W y + U c)`` with biases, 2 C^2 weights (DLA, Table 4); c multiplies a feature.

    Args:
        channels (int): C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.from_input = nn.Linear(channels, channels)
        self.from_context = nn.Linear(channels, channels)

    def forward(self, y: Tensor, c: Optional[Tensor] = None) -> Tensor:
        c = torch.zeros_like(y) if c is None else c
        return torch.tanh(self.from_input(y) + self.from_context(c))


@MODELS.register_module()
class LSTM(ContextUnit):
    """torch.nn.LSTMCell, 8 C^2 weights (DLA, Tables 4 and 6). The state is (h, c).

    Args:
        channels (int): C.
    """

    cell_activation = staticmethod(torch.tanh)

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.from_input = self.projection()
        self.from_context = self.projection()

    def projection(self) -> nn.Module:
        """C to 4 C."""
        return nn.Linear(self.channels, 4 * self.channels)

    def forward(self, y: Tensor, state: Optional[Tuple[Tensor, Tensor]] = None) -> Tuple[Tensor, Tensor]:
        h, c = self.initial_state(torch.zeros_like(y)) if state is None else state
        i, f, g, o = (self.from_input(y) + self.from_context(h)).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * self.cell_activation(c), c

    def initial_state(self, c: Tensor) -> Tuple[Tensor, Tensor]:
        return torch.zeros_like(c), c

    def output(self, state: Tuple[Tensor, Tensor]) -> Tensor:
        return state[0]

    def context(self, state: Tuple[Tensor, Tensor]) -> Tensor:
        return state[1]


@MODELS.register_module()
class DIA(LSTM):
    """An LSTM of two bottleneck perceptrons with ``h = o * sigmoid(c)`` (DIANet).

    10 C^2 / r weights.

    Args:
        channels (int): C.
        reduction (int): r. 4 on CIFAR, 20 on ImageNet.

    Raises:
        UserError: If r exceeds C.
    """

    cell_activation = staticmethod(torch.sigmoid)

    def __init__(self, channels: int, reduction: int = 20) -> None:
        self.reduction = reduction
        super().__init__(channels)

    def projection(self) -> nn.Module:
        return perceptron(self.channels, self.reduction, 4)


def perceptron(channels: int, reduction: int, num_outputs: int) -> nn.Sequential:
    """``C -> C // r -> num_outputs * C`` with a ReLU between."""
    hidden = bottleneck(channels, reduction)
    return nn.Sequential(
        nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, num_outputs * channels))


def context_unit_class(config: Optional[dict], default: str) -> type:
    """Class of the context unit of a config ``dict(type=..., ...)`` or, without type, the default."""
    check_config('context_unit', config, 'dict(type=\'mmdla.DSU\', reduction=20)')
    return registered('the type of context_unit', ContextUnit, (config or {}).get('type', default))


def build_context_unit(config: Optional[dict], channels: int, default: str) -> ContextUnit:
    """Build the context unit of a stage from ``dict(type='mmdla.DSU', ...)``.

    Args:
        config (dict, optional): Of the unit.
        channels (int): C.
        default (str): Its type where the config has none.

    Raises:
        UserError: For an unknown type or an argument that the unit does not have.
    """
    cls = context_unit_class(config, default)
    if 'gates' in (config or {}):
        raise UserError('context_unit has no argument gates: it is now form=\'joint\' or \'split\'.')
    arguments = {name: value for name, value in (config or {}).items() if name != 'type'}
    return construct('context unit', cls, channels, **arguments)
