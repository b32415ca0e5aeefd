"""mmpretrain's ResNet with layer attention in every stage and plugins in its blocks."""
from typing import Dict, List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
import torch.utils.checkpoint as cp
from mmcv.cnn import build_conv_layer
from mmpretrain.models.backbones import resnet as host
from torch import Tensor, nn

from mmdla.errors import UserError, choose
from mmdla.ops import add_relu, add_relu_mean
from mmdla.registry import MODELS

from .block import BasicBlock, Bottleneck
from .plugins import plugin_arguments, plugins_of_stage
from .trunk import Trunk

CIFAR = dict(
    stem_channels=16,
    base_channels=16,
    num_stages=3,
    strides=(1, 2, 2),
    dilations=(1, 1, 1),
    out_indices=(2, ),
    zero_init_residual=False)


def cifar_arch(depth: int) -> dict:
    """``arch_settings`` of a bottleneck ResNet of depth 9n + 2."""
    n = (depth - 2) // 9
    if n < 1 or depth != 9 * n + 2:
        raise UserError(f'depth must be 9n + 2 on the CIFAR trunk, such as 20, 56 or 110; got {depth}.')
    return {depth: (Bottleneck, (n, n, n))}


@MODELS.register_module()
class ResNet(Trunk, host.ResNet):
    """mmpretrain's ResNet, by itself or with layer attention; takes all of its arguments.

    ``forward`` takes images (B, 3, H, W) and returns a tuple of the outputs of the stages in
    ``out_indices``, each (B, C_i, H_i, W_i). Parameter names of the trunk are torchvision's. The stages
    ``layer1`` ... hold the blocks alone: ``model.layer1(x)`` leaves the attention out.

    Args:
        depth (int): 18, 34, 50, 101 or 152; on the CIFAR trunk any 9n + 2, such as 20, 56, 110.
        interaction (dict, optional): Layer attention of every stage, such as
            ``dict(type='mmdla.DLALight', context_unit=dict(type='mmdla.DSU', reduction=20))``; see
            :mod:`mmdla.attention`. None for the plain ResNet.
        attention_init (str): Start of the gammas of the attention's norms. 'scaled',
            1 / sqrt(layers of the stage): outputs keep ordinary magnitudes whatever the
            depth, with frozen norms too. 'one', as released. 'zero', of the light forms: the
            network starts as the plain ResNet, so that ordinary ResNet weights can be its start.
        trunk (str): 'imagenet', or 'cifar': three stages of n bottleneck blocks with 64, 128 and
            256 channels behind a 3x3 convolution, for 32x32 images.
        plugins (Sequence[dict], optional): Attention inside the blocks, see
            :mod:`mmdla.trunks.plugins`.
        init_cfg (dict | list[dict], optional): As in mmpretrain, but
            ``dict(type='Pretrained', checkpoint=...)`` is strict, see
            :func:`mmdla.pretrained.load_backbone`.
        **kwargs: Other arguments of mmpretrain's ResNet.

    Raises:
        UserError: For an argument that is out of its range.

    Example:
        >>> import torch
        >>> from mmdla.models import ResNet
        >>> model = ResNet(50, interaction=dict(type='mmdla.MRLALight'), out_indices=(0, 3)).eval()
        >>> [tuple(f.shape) for f in model(torch.rand(1, 3, 64, 64))]
        [(1, 256, 16, 16), (1, 2048, 2, 2)]
    """

    widens = True
    arch_settings = {
        depth: (BasicBlock if block is host.BasicBlock else Bottleneck, num_blocks)
        for depth, (block, num_blocks) in host.ResNet.arch_settings.items()
    }

    def __init__(self,
                 depth: int,
                 interaction: Optional[dict] = None,
                 attention_init: str = 'scaled',
                 trunk: str = 'imagenet',
                 plugins: Optional[Sequence[dict]] = None,
                 **kwargs) -> None:
        kwargs = {**choose('trunk', trunk, dict(imagenet={}, cifar=CIFAR)), **kwargs}
        self.trunk = trunk
        if trunk == 'cifar':
            self.arch_settings = cifar_arch(depth)
        choose('depth', depth, self.arch_settings)
        self.size = str(depth)
        self.attention_init = attention_init
        super().__init__(depth, **self.split_init_cfg(kwargs))
        self.add_attention(
            interaction, [(stage[-1].out_channels, len(stage)) for stage in self.stages], self.norm_cfg)
        for stage, attention in zip(self.stages, self.attention):
            for block in stage:
                block.widen_input(attention.extra_channels)
        self.feat_dim += self.attention[-1].extra_outputs
        if self.attention[-1].extra_outputs and max(self.out_indices) + 1 < self.num_stages:
            raise UserError('hidden_output=True requires the last stage in out_indices.')
        self.plugins = plugins or ()
        added = [self.add_plugins(index, stage) for index, stage in enumerate(self.stages)]
        self.non_shape_arguments.update(style=self.style, **(dict(plugins=added) if plugins else {}))
        self.freeze_attention()
        self._freeze_stages()  # again: the plugins came after the host's call

    def _make_stem_layer(self, in_channels: int, stem_channels: int) -> None:
        super()._make_stem_layer(in_channels, stem_channels)
        if self.trunk == 'cifar':
            if self.deep_stem:
                raise UserError('deep_stem=True is only supported with trunk=\'imagenet\'.')
            self.conv1 = build_conv_layer(
                self.conv_cfg, in_channels, stem_channels, 3, padding=1, bias=False)
            self.maxpool = nn.Identity()

    def add_plugins(self, index: int, stage: nn.Sequential) -> List[tuple]:
        """Put plugins into a stage; position, arguments and blocks of each."""
        added = []
        for position, cfg, blocks in plugins_of_stage(self.plugins, index, len(stage)):
            for block in blocks:
                stage[block].add_plugin(position, cfg)
            added.append((position, plugin_arguments(cfg), blocks))
        return added

    @property
    def stages(self) -> List[nn.Sequential]:
        return [getattr(self, name) for name in self.res_layers]

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        x = self.stem(x) if self.deep_stem else self.relu(self.norm1(self.conv1(x)))
        x, state = self.maxpool(x), None
        outs = []
        for index in range(self.num_stages):
            x, state = self.scan(index, x, state)
            if index in self.out_indices:
                outs.append(x)
        if index in self.out_indices:
            outs[-1] = self.attention[-1].finish(x, state)
        return tuple(outs)

    def scan(self, stage: int, x: Tensor, state=None) -> Tuple[Tensor, object]:
        """Output and last state of a stage from its input and the state of the stage before."""
        attention = self.attention[stage]
        state = attention.initial_state(x, state)
        for index, block in enumerate(self.stages[stage]):
            if self.with_cp and x.requires_grad:
                x, state = cp.checkpoint(
                    self.step, attention, index, block, x, state, use_reentrant=False)
            else:
                x, state = self.step(attention, index, block, x, state)
        return x, state

    @staticmethod
    def step(attention: nn.Module, index: int, block: nn.Module, x: Tensor,
             state) -> Tuple[Tensor, object]:
        """One layer: a block, its sum, the attention."""
        branch, o = block.branches(x, attention.block_input(x, state))
        means = ()
        if attention.joins:
            branch, state = attention.join(index, branch, state)
            x = F.relu(branch + o, inplace=True)
        elif attention.num_means:
            x, o, *means = add_relu_mean(branch, o, both=attention.num_means == 2)
        else:
            x = add_relu(branch, o)
        x, state = attention(index, x, o, state, *means[:attention.num_means])
        return block.after(x), state

    @property
    def ignored_prefixes(self) -> Tuple[str, ...]:
        stages = range(self.num_stages, 4)
        return (*super().ignored_prefixes, *(f'layer{i + 1}.' for i in stages),
                *(f'attention.{i}.' for i in stages))

    def plugin_layers(self, *positions: str) -> Dict[str, nn.Module]:
        return {f'{stage}.{index}.{name}': getattr(block, name) for stage in self.res_layers
                for index, block in enumerate(getattr(self, stage))
                for position in positions or block.plugins for name in block.plugins[position]}

    @torch.no_grad()
    def identity_plugins(self) -> List[str]:
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

    def freeze_attention(self) -> None:
        """Freeze the attention of the stages whose blocks the host freezes."""
        for attention in self.attention[:max(self.frozen_stages, 0)]:
            attention.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> 'ResNet':
        super().train(mode)
        self.freeze_attention()
        return self

    def block_name(self, stage: int, layer: int) -> str:
        return f'{self.res_layers[stage]}.{layer}'
