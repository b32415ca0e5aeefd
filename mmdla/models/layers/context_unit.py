"""Context units ``Dyn`` (DLA, IJCAI 2024, section 3 and Table 4; DIANet, AAAI 2020).

A unit takes channel means y and a state, and returns the next state: ``(h, c)``, the hidden
values that it reads at the next step and the context. y is (..., C); the state may have any
shape that broadcasts with it, so that one call serves all layers that a context refreshes.
"""
from typing import Optional, Tuple

import torch
from torch import Tensor, nn

from mmdla.errors import UserError, choose
from mmdla.ops import dsu_is_fast, dsu_update

State = Tuple[Tensor, Tensor]


def identity(c: Tensor) -> Tensor:
    return c


NORMALIZERS = dict(sigmoid=torch.sigmoid, identity=identity, tanh=torch.tanh, relu=torch.relu)


def perceptron(channels: int, reduction: int, gates: int) -> nn.Sequential:
    """``C -> C // r -> gates * C`` with a ReLU between."""
    hidden = bottleneck(channels, reduction)
    return nn.Sequential(
        nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, gates * channels))


def bottleneck(channels: int, reduction: int) -> int:
    """C // r, or an error where nothing would be left."""
    if not 1 <= reduction <= channels:
        raise UserError(f'reduction={reduction} leaves no hidden channel in a stage of '
                        f'{channels} channels: choose a value from 1 to {channels}.')
    return channels // reduction


class ContextUnit(nn.Module):
    """What all units share: zeros at the start, and h as the output."""

    def start(self, y: Tensor, c: Optional[Tensor] = None) -> State:
        """State before the first layer.

        Args:
            y (Tensor): Channel means of the first layer, (B, C).
            c (Tensor, optional): Learned initial context, (C, ); zeros by default.
        """
        zeros = torch.zeros_like(y)
        return zeros, zeros if c is None else c.to(y.dtype).expand_as(y)

    def forward(self, y: Tensor, state: State) -> State:
        """
        Args:
            y (Tensor): Channel means, (..., C).
            state (tuple[Tensor]): h and c of the step before, each broadcastable to (..., C).

        Returns:
            tuple[Tensor]: h and c of this step, each (..., C).
        """
        raise NotImplementedError

    def output(self, state: State) -> Tensor:
        """What multiplies a feature: (..., C)."""
        return state[0]

    def context(self, state: State) -> Tensor:
        """c: (..., C)."""
        return state[1]


class RNN(ContextUnit):
    """``h = c = tanh(W y + U h_prev)`` with biases, 2 C^2 weights (DLA, Table 4).

    Args:
        channels (int): C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.from_input = nn.Linear(channels, channels)
        self.from_context = nn.Linear(channels, channels)

    def start(self, y: Tensor, c: Optional[Tensor] = None) -> State:
        c = super().start(y, c)[1]
        return c, c

    def forward(self, y: Tensor, state: State) -> State:
        c = torch.tanh(self.from_input(y) + self.from_context(state[0]))
        return c, c


class LSTM(ContextUnit):
    """torch.nn.LSTMCell, 8 C^2 weights (DLA, Tables 4 and 6).

    Args:
        channels (int): C.
    """

    cell_output = staticmethod(torch.tanh)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.from_input = nn.Linear(channels, 4 * channels)
        self.from_context = nn.Linear(channels, 4 * channels)

    def forward(self, y: Tensor, state: State) -> State:
        h, c = state
        i, f, g, o = (self.from_input(y) + self.from_context(h)).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * self.cell_output(c), c


class DIA(LSTM):
    """An LSTM of two bottleneck perceptrons with ``h = o * sigmoid(c)`` (DIANet).

    10 C^2 / r weights.

    Args:
        channels (int): C.
        reduction (int): r. 4 on CIFAR, 20 on ImageNet.

    Raises:
        UserError: If r exceeds C.
    """

    cell_output = staticmethod(torch.sigmoid)

    def __init__(self, channels: int, reduction: int = 20) -> None:
        ContextUnit.__init__(self)
        self.from_input = perceptron(channels, reduction, 4)
        self.from_context = perceptron(channels, reduction, 4)


class DSU(ContextUnit):
    """Dynamic sharing unit (DLA, Eq. 7-9).

    ``c = sigmoid(f) * c_prev + sigmoid(i) * tanh(c~)``; sigmoid(c) multiplies a feature.

    Args:
        channels (int): C.
        reduction (int): r; the bottleneck has C // r channels. The papers use 4 on CIFAR
            and 20 on ImageNet and COCO.
        gates (str): 'joint' computes i, f and c~ from ``ReLU(W1 [norm(c_prev), y])`` (the
            paper, 5 C^2 / r weights). 'split' adds the outputs of two biased perceptrons, one
            on y and one on ``norm(c_prev)``, which is 0 at the first step (the released code,
            8 C^2 / r weights).
        normalizer (str): What is applied to c_prev on its way in: 'sigmoid', 'identity',
            'tanh' or 'relu' (paper, Table 5).

    Raises:
        UserError: If r exceeds C, or for an unknown ``gates`` or ``normalizer``.
    """

    def __init__(self,
                 channels: int,
                 reduction: int = 20,
                 gates: str = 'joint',
                 normalizer: str = 'sigmoid') -> None:
        super().__init__()
        self.normalizer = choose('normalizer', normalizer, NORMALIZERS)
        self.joint = choose('gates', gates, dict(joint=True, split=False))
        if self.joint:
            hidden = bottleneck(channels, reduction)
            self.squeeze = nn.Linear(2 * channels, hidden, bias=False)
            self.expand = nn.Linear(hidden, 3 * channels)
        else:
            self.from_input = perceptron(channels, reduction, 3)
            self.from_context = perceptron(channels, reduction, 3)

    def start(self, y: Tensor, c: Optional[Tensor] = None) -> State:
        zeros, c_0 = super().start(y, c)
        return zeros if c is None and not self.joint else self.normalizer(c_0), c_0

    def forward(self, y: Tensor, state: State) -> State:
        h, c = state
        if self.joint:
            pre = self.expand(torch.relu(self.squeeze(torch.cat([h.expand_as(y), y], -1))))
        else:
            pre = self.from_input(y) + self.from_context(h)
        if dsu_is_fast(pre, c):
            c = dsu_update(pre, c)
        else:
            i, f, g = pre.chunk(3, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return self.normalizer(c), c

    def output(self, state: State) -> Tensor:
        return state[1].sigmoid()


CONTEXT_UNITS = dict(RNN=RNN, LSTM=LSTM, DIA=DIA, DSU=DSU)


def build_context_unit(channels: int, type: str = 'DSU', **kwargs) -> ContextUnit:
    """Build the context unit of a stage from ``dict(type='DSU', ...)``.

    Raises:
        UserError: For an unknown type or an argument that the unit does not have.
    """
    unit = choose('context unit type', type, CONTEXT_UNITS)
    try:
        return unit(channels, **kwargs)
    except TypeError as error:
        raise UserError(f'context unit {type} does not take these arguments ({error}): see its '
                        'documentation.') from error
