"""The stages and blocks of a ResNet: mmpretrain's, with attention across and inside the blocks."""
from typing import Iterator, Optional, Tuple

import torch.nn.functional as F
import torch.utils.checkpoint as cp
from mmcv.cnn import build_conv_layer, build_plugin_layer
from mmpretrain.models.backbones import resnet as host
from torch import Tensor, nn

from mmdla.attention import Interaction
from mmdla.ops import add_relu, add_relu_mean

from .plugins import build_layer


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
        self.connected = (attention, )  # in a tuple, to be no child of the stage
        for block in self:
            block.widen_input(attention.extra_channels)

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
        attention, = self.connected
        state = attention.initial_state(x, state)
        for index in range(len(self)):
            if self.with_cp and x.requires_grad:
                x, state = cp.checkpoint(self.step, index, x, state, use_reentrant=False)
            else:
                x, state = self.step(index, x, state)
        return x, state

    def step(self, index: int, x: Tensor, state) -> Tuple[Tensor, object]:
        """One layer: a block, its sum, the attention."""
        block, (attention, ), means = self[index], self.connected, ()
        branch, o = block(x, attention.block_input(x, state) if attention.extra_channels else x)
        if attention.joins:
            branch, state = attention.join(index, branch, state)
            x = F.relu(branch + o, inplace=True)
        elif attention.num_means:
            x, o, *means = add_relu_mean(branch, o, both=attention.num_means == 2)
        else:
            x = add_relu(branch, o)
        x, state = attention(index, x, o, state, *means[:attention.num_means])
        return block.after(x), state


class Block:
    """A mixin ahead of the host's block.

    Plugins are children under their own names, as in mmdet.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.plugins = dict(after_branch=[], bridge=[], after_block=[])

    @staticmethod
    def like(conv: nn.Module, cfg: Optional[dict], extra_channels: int = 0) -> nn.Module:
        """A convolution of the same form, with more input channels."""
        return build_layer(
            build_conv_layer,
            cfg,
            conv.in_channels + extra_channels,
            conv.out_channels,
            conv.kernel_size,
            stride=conv.stride,
            padding=conv.padding,
            dilation=conv.dilation,
            bias=False)

    def widen_input(self, extra_channels: int) -> None:
        """Have the first convolution read more channels than the block's input has."""
        if extra_channels:
            self.conv1 = self.like(self.conv1, self.conv_cfg, extra_channels)

    def add_plugin(self, position: str, cfg: dict) -> None:
        """See :mod:`mmdla.trunks.plugins`."""
        if position == 'conv2':
            self.conv2 = self.like(self.conv2, cfg)
            return
        given = dict(in_channels=self.out_channels)
        if position == 'bridge':
            given['hidden_channels'] = self.hidden_channels
        count = sum(map(len, self.plugins.values()))
        name, layer = build_layer(build_plugin_layer, cfg, **given)
        name = f'{name}{count}' if name in self._modules else name
        self.add_module(name, layer)
        self.plugins[position].append(name)

    def plugin_layers(self, *positions: str) -> Iterator[nn.Module]:
        """Plugins at these positions, in order; without those that replace a convolution."""
        return (getattr(self, name) for position in positions for name in self.plugins[position])

    def forward(self, x: Tensor, read: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
        """Unlike the host's, without the sum, which comes after plugins and ``join``.

        Args:
            x (Tensor): The block's input, (B, C_in, H, W).
            read (Tensor, optional): What its first convolution reads, (B, *, H, W); x by default.

        Returns:
            tuple: The residual branch and the shortcut, both (B, C, H', W').
        """
        hidden = self.hidden(x if read is None else read)
        u = self.last(hidden[-1])
        for layer in self.plugin_layers('after_branch'):
            u = layer(u)
        for layer in self.plugin_layers('bridge'):
            u = layer(u, hidden)
        return self.drop_path(u), x if self.downsample is None else self.downsample(x)

    def after(self, x: Tensor) -> Tensor:
        """What follows the block's sum and the attention: (B, C, H, W) to (B, C, H, W)."""
        for layer in self.plugin_layers('after_block'):
            x = layer(x)
        return x


class BasicBlock(Block, host.BasicBlock):
    """mmpretrain's BasicBlock."""

    @property
    def hidden_channels(self) -> Tuple[int, ...]:
        return (self.mid_channels, )

    def hidden(self, x: Tensor) -> Tuple[Tensor, ...]:
        return (self.relu(self.norm1(self.conv1(x))), )

    def last(self, hidden: Tensor) -> Tensor:
        return self.norm2(self.conv2(hidden))


class Bottleneck(Block, host.Bottleneck):
    """mmpretrain's Bottleneck."""

    @property
    def hidden_channels(self) -> Tuple[int, ...]:
        return (self.mid_channels, self.mid_channels)

    def hidden(self, x: Tensor) -> Tuple[Tensor, ...]:
        first = self.relu(self.norm1(self.conv1(x)))
        return first, self.relu(self.norm2(self.conv2(first)))

    def last(self, hidden: Tensor) -> Tensor:
        return self.norm3(self.conv3(hidden))
