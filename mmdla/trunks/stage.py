"""The stages and blocks of a ResNet: mmpretrain's, with attention across and inside the blocks."""
from typing import Iterable, Iterator, Optional, Tuple

import torch
import torch.nn.functional as F
import torch.utils.checkpoint as cp
from mmcv.cnn import build_conv_layer, build_plugin_layer
from mmpretrain.models.backbones import res2net, resnest, resnet, resnext, seresnet
from torch import Tensor, nn

from mmdla.attention import Interaction
from mmdla.errors import UserError
from mmdla.ops import add_relu, add_relu_mean

from .plugins import build_layer


class Stage(nn.Sequential):
    """The blocks of a stage of the host with an interaction.

    The interaction is a child of the backbone, ``attention.i``, and not of the stage.

    Args:
        blocks (iterable of nn.Module): Of the host's stage.
        with_cp (bool): Whether to recompute each layer in the backward pass.
    """

    def __init__(self, blocks: Iterable[nn.Module], with_cp: bool) -> None:
        super().__init__(*blocks)
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
        """One layer: a block with its sum and the attention."""
        layer = Layer(*self.connected, index, state)
        return self[index](x, layer), layer.state


class Layer:
    """What a block is given of its stage: the attention of its layer, and the state, which it renews.

    Args:
        attention (Interaction): Of the stage.
        index (int): Of the layer.
        state: That of the layer before.
    """

    def __init__(self, attention: Interaction, index: int, state) -> None:
        self.attention, self.index, self.state = attention, index, state

    def read(self, x: Tensor) -> Tensor:
        """What the block's first convolution reads, (B, *, H, W), where its input is x."""
        return self.attention.block_input(x, self.state) if self.attention.extra_channels else x

    def add(self, branch: Tensor, o: Tensor) -> Tensor:
        """The sum of residual branch and shortcut, (B, C, H, W) each, and the attention."""
        attention, means = self.attention, ()
        if attention.joins:
            branch, self.state = attention.join(self.index, branch, self.state)
            x = F.relu(branch + o, inplace=True)
        elif attention.num_means:
            x, o, *means = add_relu_mean(branch, o, both=attention.num_means == 2)
        else:
            x = add_relu(branch, o)
        x, self.state = attention(self.index, x, o, self.state, *means[:attention.num_means])
        return x


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
            if getattr(getattr(self, 'conv2', None), 'groups', 0) != 1 or hasattr(self.conv2, 'radix'):
                raise UserError('position=\'conv2\' replaces an ordinary second convolution, which the '
                                f'{type(self).__name__} has not: choose another position or a ResNet.')
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

    def forward(self, x: Tensor, layer: Optional[Layer] = None) -> Tensor:
        """As the host's, with plugins, and with the layer attention of its stage.

        A forward hook on a block sees what the next block does.

        Args:
            x (Tensor): The block's input, (B, C_in, H, W).
            layer (Layer, optional): By default there is no layer attention.

        Returns:
            Tensor: (B, C, H', W').
        """
        branch, o = self.parts(x, x if layer is None else layer.read(x))
        x = add_relu(branch, o) if layer is None else layer.add(branch, o)
        for plugin in self.plugin_layers('after_block'):
            x = plugin(x)
        return x

    def parts(self, x: Tensor, read: Tensor) -> Tuple[Tensor, Tensor]:
        """
        Args:
            x (Tensor): The block's input, (B, C_in, H, W).
            read (Tensor): What its first convolution reads, (B, *, H, W).

        Returns:
            tuple: The residual branch and the shortcut, both (B, C, H', W').
        """
        hidden = self.hidden(read)
        u = self.last(hidden[-1])
        for plugin in self.plugin_layers('after_branch'):
            u = plugin(u)
        for plugin in self.plugin_layers('bridge'):
            u = plugin(u, hidden)
        return self.drop_path(u), x if self.downsample is None else self.downsample(x)


class BasicBlock(Block, resnet.BasicBlock):
    """mmpretrain's BasicBlock."""

    @property
    def hidden_channels(self) -> Tuple[int, ...]:
        return (self.mid_channels, )

    def hidden(self, x: Tensor) -> Tuple[Tensor, ...]:
        return (self.relu(self.norm1(self.conv1(x))), )

    def last(self, hidden: Tensor) -> Tensor:
        return self.norm2(self.conv2(hidden))


class ThreeConvolutions(Block):
    """What the bottlenecks share: between the first and the last convolution is ``middle``."""

    @property
    def hidden_channels(self) -> Tuple[int, ...]:
        return (self.conv1.out_channels, self.conv3.in_channels)

    def hidden(self, x: Tensor) -> Tuple[Tensor, ...]:
        first = self.relu(self.norm1(self.conv1(x)))
        return first, self.middle(first)

    def middle(self, x: Tensor) -> Tensor:
        return self.relu(self.norm2(self.conv2(x)))

    def last(self, hidden: Tensor) -> Tensor:
        return self.norm3(self.conv3(hidden))


class Bottleneck(ThreeConvolutions, resnet.Bottleneck):
    """mmpretrain's Bottleneck."""


class ResNeXtBottleneck(ThreeConvolutions, resnext.Bottleneck):
    """mmpretrain's Bottleneck of ResNeXt and RegNet."""


class SEBottleneck(ThreeConvolutions, seresnet.SEBottleneck):
    """mmpretrain's SEBottleneck."""

    def last(self, hidden: Tensor) -> Tensor:
        return self.se_layer(super().last(hidden))


class ResNeStBottleneck(ThreeConvolutions, resnest.Bottleneck):
    """mmpretrain's Bottleneck of ResNeSt, with split attention in the middle."""

    def middle(self, x: Tensor) -> Tensor:
        x = self.conv2(x)
        return self.avd_layer(x) if self.avg_down_stride else x


class Bottle2neck(ThreeConvolutions, res2net.Bottle2neck):
    """mmpretrain's Bottle2neck of Res2Net: 3x3 convolutions of slices, each added to the next."""

    def middle(self, x: Tensor) -> Tensor:
        begins = self.stage_type == 'stage'  # a stage, in which no slice is added to the next
        *slices, rest = x.split(self.width, 1)
        outs = []
        for index, (part, conv, norm) in enumerate(zip(slices, self.convs, self.bns)):
            part = part if begins or not index else outs[-1] + part
            outs.append(self.relu(norm(conv(part.contiguous()))))
        return torch.cat([*outs, self.pool(rest) if begins else rest], 1)


BLOCKS = {
    resnet.BasicBlock: BasicBlock,
    resnet.Bottleneck: Bottleneck,
    resnext.Bottleneck: ResNeXtBottleneck,
    seresnet.SEBottleneck: SEBottleneck,
    resnest.Bottleneck: ResNeStBottleneck,
    res2net.Bottle2neck: Bottle2neck,
}
