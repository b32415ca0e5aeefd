"""mmpretrain's ResNet with a layer interaction in every stage."""
from copy import deepcopy
from functools import partial
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Type

import torch
import torch.utils.checkpoint as cp
from mmcv.cnn import build_conv_layer, build_plugin_layer
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck, ResLayer, ResNet
from torch import Tensor, nn

from mmdla.errors import UserError, choose
from mmdla.pretrained import load_backbone

from .arguments import meaning, split_init_cfg
from .plugins import build_layer, meaning_of_plugin, plugins_of_stage


class Branch:
    """What a block of the host is here: its residual branch and its shortcut, without their sum.

    A mixin. Plugins are children under their own names, as in mmdet.

    Args:
        extra_channels (int): Channels that the first convolution reads beside the block's input.
    """

    def __init__(self, *args, extra_channels: int = 0, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.plugins = dict(after_branch=[], bridge=[], after_block=[])
        if extra_channels:
            self.conv1 = self.like(self.conv1, self.conv_cfg, extra_channels)

    @staticmethod
    def like(conv: nn.Module, cfg: Optional[dict], extra_channels: int = 0) -> nn.Module:
        """A convolution of the same form."""
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

    def add_plugin(self, position: str, cfg: dict) -> None:
        """See :mod:`mmdla.models.backbones.plugins`."""
        if position == 'conv2':
            self.conv2 = self.like(self.conv2, cfg)
            return
        given = dict(in_channels=self.out_channels)
        if position == 'bridge':
            given['hidden_channels'] = self.hidden_channels
        count = sum(map(len, self.plugins.values()))
        name, layer = build_layer(build_plugin_layer, cfg, **given)
        name = f'{name}{count}' if hasattr(self, name) else name
        self.add_module(name, layer)
        self.plugins[position].append(name)

    def plugin_layers(self, *positions: str) -> Iterator[nn.Module]:
        """Those at these positions, in order; the replaced convolution is none of them."""
        return (getattr(self, name) for position in positions for name in self.plugins[position])

    def forward(self, x: Tensor, read: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
        """
        Args:
            x (Tensor): The block's input, (B, C_in, H, W).
            read (Tensor, optional): What its first convolution reads instead, (B, *, H, W).

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
        """What follows the block's sum: (B, C, H, W) to (B, C, H, W)."""
        for layer in self.plugin_layers('after_block'):
            x = layer(x)
        return x


class BasicBranch(Branch, BasicBlock):
    """mmpretrain's BasicBlock."""

    @property
    def hidden_channels(self) -> Tuple[int, ...]:
        return (self.mid_channels, )

    def hidden(self, x: Tensor) -> Tuple[Tensor, ...]:
        return (self.relu(self.norm1(self.conv1(x))), )

    def last(self, hidden: Tensor) -> Tensor:
        return self.norm2(self.conv2(hidden))


class BottleneckBranch(Branch, Bottleneck):
    """mmpretrain's Bottleneck."""

    @property
    def hidden_channels(self) -> Tuple[int, ...]:
        return (self.mid_channels, self.mid_channels)

    def hidden(self, x: Tensor) -> Tuple[Tensor, ...]:
        first = self.relu(self.norm1(self.conv1(x)))
        return first, self.relu(self.norm2(self.conv2(first)))

    def last(self, hidden: Tensor) -> Tensor:
        return self.norm3(self.conv3(hidden))


class Stage(ResLayer):
    """The blocks of a stage ('0', '1', ...) and their layer interaction ('attention').

    As a sequence it holds the blocks alone.
    """

    def __init__(self, interaction: Callable[[int, int], nn.Module], num_blocks: int,
                 out_channels: int, with_cp: bool, **kwargs) -> None:
        super().__init__(num_blocks=num_blocks, out_channels=out_channels, **kwargs)
        self.num_blocks = num_blocks
        self.with_cp = with_cp
        self.attention = interaction(out_channels, num_blocks)

    def __len__(self) -> int:
        return self.num_blocks

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> nn.Module:
        return self._modules[str(range(self.num_blocks)[index])]

    def layer(self, index: int, x: Tensor, state) -> Tuple[Tensor, object]:
        block = self[index]
        branch, shortcut = block(x, self.attention.read(x, state))
        x, state = self.attention(index, branch, shortcut, state)
        return block.after(x), state

    def run(self, x: Tensor, state) -> Tuple[Tensor, object]:
        """Output and last state from input and first state."""
        for index in range(self.num_blocks):
            if self.with_cp and x.requires_grad:
                x, state = cp.checkpoint(self.layer, index, x, state, use_reentrant=False)
            else:
                x, state = self.layer(index, x, state)
        return x, state

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x, None)[0]


def cifar_arch(depth: int) -> dict:
    """``arch_settings`` of a bottleneck ResNet of depth 9n + 2."""
    n = (depth - 2) // 9
    if n < 1 or depth != 9 * n + 2:
        raise UserError(f'depth must be 9n + 2 on the CIFAR trunk, such as 20, 56 or 110; got {depth}.')
    return {depth: (BottleneckBranch, (n, n, n))}


class InteractionResNet(ResNet):
    """Base of the ResNets here; takes every argument of mmpretrain's ResNet.

    Parameter names of the trunk are torchvision's, those of the interaction of stage i start
    with ``layer{i}.attention``. ``config`` holds what tensors of the same shapes can differ in,
    the arguments of the interaction and of plugins and ``style``, with their defaults.

    Args:
        depth (int): 18, 34, 50, 101 or 152; on the CIFAR trunk any 9n + 2, such as 20, 56, 110.
        interaction (type): Class of the layer interaction.
        interaction_cfg (dict): Its arguments.
        trunk (str): 'imagenet', or 'cifar': three stages of n bottleneck blocks with 64, 128 and
            256 channels behind a 3x3 convolution, for 32x32 images.
        plugins (Sequence[dict], optional): Attention inside the blocks, see
            :mod:`mmdla.models.backbones.plugins`.
        init_cfg (dict | list[dict], optional): As in mmpretrain, but
            ``dict(type='Pretrained', checkpoint=...)`` is strict, see
            :func:`mmdla.pretrained.load_backbone`.

    Raises:
        UserError: For an argument that is out of its range.
    """

    arch_settings = {
        depth: (BasicBranch if block is BasicBlock else BottleneckBranch, num_blocks)
        for depth, (block, num_blocks) in ResNet.arch_settings.items()
    }
    trunks = dict(
        imagenet=dict(),
        cifar=dict(
            stem_channels=16,
            base_channels=16,
            num_stages=3,
            strides=(1, 2, 2),
            dilations=(1, 1, 1),
            out_indices=(2, ),
            zero_init_residual=False))

    def __init__(self,
                 depth: int,
                 interaction: Type[nn.Module],
                 interaction_cfg: dict,
                 trunk: str = 'imagenet',
                 plugins: Optional[Sequence[dict]] = None,
                 init_cfg: Optional[dict] = None,
                 **kwargs) -> None:
        kwargs = {**choose('trunk', trunk, self.trunks), **kwargs}
        self.trunk = trunk
        self.plugins, self.plugins_config = plugins or (), []
        if trunk == 'cifar':
            self.arch_settings = cifar_arch(depth)
        choose('depth', depth, self.arch_settings)
        self.interaction = partial(interaction, **interaction_cfg)
        self.pretrained, random_init = split_init_cfg(init_cfg)
        if random_init:
            kwargs['init_cfg'] = random_init
        super().__init__(depth, **kwargs)
        self.config = dict(style=self.style, **meaning(interaction, interaction_cfg))
        if self.plugins:
            self.config['plugins'] = [
                [(position, meaning_of_plugin(cfg), blocks) for position, cfg, blocks in stage]
                for stage in self.plugins_config]

    def _make_stem_layer(self, in_channels: int, stem_channels: int) -> None:
        super()._make_stem_layer(in_channels, stem_channels)
        if self.trunk == 'cifar':
            if self.deep_stem:
                raise UserError('deep_stem=True is of trunk=\'imagenet\': leave it out.')
            self.conv1 = build_conv_layer(
                self.conv_cfg, in_channels, stem_channels, 3, padding=1, bias=False)
            self.maxpool = nn.Identity()

    def make_res_layer(self, **kwargs) -> Stage:
        interaction = partial(self.interaction, norm_cfg=kwargs['norm_cfg'])
        stage = Stage(interaction=interaction, **kwargs)
        here = list(plugins_of_stage(self.plugins, len(self.res_layers), len(stage)))
        self.plugins_config.append(here)
        for position, cfg, blocks in here:
            for index in blocks:
                stage[index].add_plugin(position, cfg)
        return stage

    @property
    def stages(self) -> Sequence[Stage]:
        return [getattr(self, name) for name in self.res_layers]

    def plugin_layers(self, *positions: str) -> Dict[str, nn.Module]:
        """Plugins at these positions, by default all, by the names of their modules."""
        return {f'{stage}.{index}.{name}': getattr(block, name) for stage in self.res_layers
                for index, block in enumerate(getattr(self, stage))
                for position in positions or block.plugins for name in block.plugins[position]}

    @torch.no_grad()
    def neutral_plugins(self) -> List[str]:
        """Names of the plugins that leave their input as it is, as GC, NL and A2 do at the start."""
        names = []
        for name, layer in self.plugin_layers('after_branch', 'after_block').items():
            channels = self.get_submodule(name.rpartition('.')[0]).out_channels
            x = torch.linspace(-1, 1, channels * 4).view(1, channels, 2, 2)
            x = x.to(next(layer.parameters(), x))
            training = layer.training
            if torch.equal(layer.eval()(x), x):
                names.append(name)
            layer.train(training)
        return names

    def init_weights(self) -> None:
        if self.is_init:
            return
        starts = [(layer, deepcopy(layer.state_dict())) for layer in self.plugin_layers().values()]
        super().init_weights()
        for layer, start in starts:  # plugins start as they are built, not as the trunk does
            layer.load_state_dict(start)
        self.init_interactions()
        for cfg in self.pretrained:
            load_backbone(self, cfg['checkpoint'], cfg.get('prefix'))

    def init_interactions(self) -> None:
        """Start of the interactions' parameters; by default as mmpretrain starts the trunk's."""

    def train(self, mode: bool = True) -> 'InteractionResNet':
        super().train(mode)
        return self

    def get_layer_depth(self, param_name: str, prefix: str = '') -> Tuple[int, int]:
        """As in mmpretrain; an attention layer counts as its block, a shared part as the first."""
        stage, mark, rest = param_name.partition('.attention.')
        if mark:
            index = next((part for part in rest.split('.') if part.isdigit()), '0')
            shared = not rest.startswith(('layers.', 'norms.'))
            param_name = f'{stage}.{0 if shared else index}.{rest}'
        return super().get_layer_depth(param_name, prefix)
