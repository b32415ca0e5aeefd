"""Context units ``Dyn`` of dynamic layer attention (DLA, IJCAI 2024, section 3)."""
from typing import Optional

import torch
from torch import Tensor, nn

from mmdla.errors import UserError, choose

NORMALIZERS = dict(sigmoid=torch.sigmoid, identity=nn.Identity(), tanh=torch.tanh, relu=torch.relu)


class DSU(nn.Module):
    """Dynamic sharing unit (DLA, Eq. 7-9).

    ``c = sigmoid(f) * c_prev + sigmoid(i) * tanh(c~)``.

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
        if not 1 <= reduction <= channels:
            raise UserError(f'reduction={reduction} leaves no hidden channel in a stage of '
                            f'{channels} channels: choose a value from 1 to {channels}.')
        hidden = channels // reduction
        self.normalizer = choose('normalizer', normalizer, NORMALIZERS)
        self.joint = choose('gates', gates, dict(joint=True, split=False))
        if self.joint:
            self.squeeze = nn.Linear(2 * channels, hidden, bias=False)
            self.expand = nn.Linear(hidden, 3 * channels)
        else:
            self.from_input = nn.Sequential(
                nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, 3 * channels))
            self.from_context = nn.Sequential(
                nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, 3 * channels))

    def forward(self, y: Tensor, c_prev: Optional[Tensor] = None) -> Tensor:
        """
        Args:
            y (Tensor): Channel means, (B, C).
            c_prev (Tensor, optional): Context, (B, C). None stands for the zeros before a
                stage's first layer.

        Returns:
            Tensor: Context c, (B, C).
        """
        first, c_prev = c_prev is None, torch.zeros_like(y) if c_prev is None else c_prev
        h = self.normalizer(c_prev)
        if self.joint:
            pre = self.expand(torch.relu(self.squeeze(torch.cat([h, y], 1))))
        else:
            pre = self.from_input(y) + self.from_context(torch.zeros_like(h) if first else h)
        i, f, c = pre.chunk(3, 1)
        return f.sigmoid() * c_prev + i.sigmoid() * c.tanh()


CONTEXT_UNITS = dict(DSU=DSU)


def build_context_unit(channels: int, type: str = 'DSU', **kwargs) -> nn.Module:
    """Build the context unit of a stage from ``dict(type='DSU', ...)``."""
    return choose('context unit type', type, CONTEXT_UNITS)(channels, **kwargs)
