"""A stage of a ResNet: its blocks, run with their attention."""
from typing import Optional, Tuple

import torch.nn.functional as F
import torch.utils.checkpoint as cp
from mmpretrain.models.backbones import resnet as host
from torch import Tensor

from mmdla.attention import Interaction
from mmdla.ops import add_relu, add_relu_mean


class Stage(host.ResLayer):
    """mmpretrain's sequence of blocks with an interaction.

    The interaction is a child of the backbone, ``attention.i``, and not of the stage.

    Args:
        with_cp (bool): Whether to recompute each layer in the backward pass.
        **kwargs: Arguments of mmpretrain's ResLayer.
    """

    def __init__(self, with_cp: bool, **kwargs) -> None:
        super().__init__(with_cp=with_cp, **kwargs)
        self.with_cp = with_cp

    def connect(self, attention: Interaction) -> None:
        """Set the interaction."""
        self.connected = (attention, )  # in a tuple it is no child
        for block in self:
            block.widen_input(attention.extra_channels)

    @property
    def attention(self) -> Interaction:
        return self.connected[0]

    def forward(self, x: Tensor, carry: Optional[list] = None) -> Tensor:
        """
        Args:
            x (Tensor): Input of the stage, (B, C_in, H, W).
            carry (list, optional): Its one item, the state of the stage before, becomes this stage's.

        Returns:
            Tensor: (B, C, H', W').
        """
        carry = [None] if carry is None else carry
        x, carry[0] = self.scan(x, carry[0])
        return x

    def scan(self, x: Tensor, state=None) -> Tuple[Tensor, object]:
        """Output and last state from the input and the state of the stage before."""
        state = self.attention.initial_state(x, state)
        for index in range(len(self)):
            if self.with_cp and x.requires_grad:
                x, state = cp.checkpoint(self.step, index, x, state, use_reentrant=False)
            else:
                x, state = self.step(index, x, state)
        return x, state

    def step(self, index: int, x: Tensor, state) -> Tuple[Tensor, object]:
        """One layer: a block, its sum, the attention."""
        block, attention, means = self[index], self.attention, ()
        branch, o = block(x, attention.block_input(x, state))
        if attention.joins:
            branch, state = attention.join(index, branch, state)
            x = F.relu(branch + o, inplace=True)
        elif attention.num_means:
            x, o, *means = add_relu_mean(branch, o, both=attention.num_means == 2)
        else:
            x = add_relu(branch, o)
        x, state = attention(index, x, o, state, *means[:attention.num_means])
        return block.after(x), state
