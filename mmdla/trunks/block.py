"""mmpretrain's ResNet blocks, which return residual branch and shortcut, and take plugins."""
from typing import Iterator, Optional, Tuple

from mmcv.cnn import build_conv_layer, build_plugin_layer
from mmpretrain.models.backbones import resnet as host
from torch import Tensor, nn

from .plugins import build_layer


class Block:
    """A mixin ahead of the host's block. Plugins are children under their own names, as in mmdet."""

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
        """
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
