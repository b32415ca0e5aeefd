"""mmpretrain's ResNet with layer attention in every stage and plugins in its blocks."""
from typing import Dict, List, Optional, Sequence, Tuple

import torch
from mmcv.cnn import build_conv_layer
from mmpretrain.models.backbones import resnet as host
from torch import Tensor, nn

from mmdla.errors import UserError, choose
from mmdla.registry import MODELS

from .arguments import check_outputs
from .plugins import plugin_arguments, plugins_of_stage
from .stage import BLOCKS, Stage
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
    return {depth: (host.Bottleneck, (n, n, n))}


class ResNetTrunk(Trunk):
    """What the ResNets share: the sum at the end of a block is ours, ahead of the layer attention.

    Args:
        depth (int): Layers.
        interaction, attention_init, with_cp, init_cfg: See :class:`mmdla.trunks.trunk.Trunk`.
        plugins (Sequence[dict], optional): Attention inside the blocks, see
            :mod:`mmdla.trunks.plugins`.
        **kwargs: Other arguments of the host.
    """

    widens = True

    def __init__(self,
                 depth: Optional[int] = None,
                 interaction: Optional[dict] = None,
                 attention_init: str = 'scaled',
                 plugins: Optional[Sequence[dict]] = None,
                 **kwargs) -> None:
        if depth is not None:
            choose('depth', depth, self.arch_settings)
            kwargs['depth'] = depth
        check_outputs(kwargs, kwargs.get('num_stages', 4))
        super().__init__(**self.host_arguments(kwargs))
        self.add_attention(
            interaction, attention_init,
            [(stage[-1].out_channels, len(stage)) for stage in self.stages], self.norm_cfg)
        for stage, attention in zip(self.stages, self.attention):
            stage.connect(attention)
        self.feat_dim += self.attention[-1].extra_outputs
        if self.attention[-1].extra_outputs and max(self.out_indices) + 1 < self.num_stages:
            raise UserError(f'{type(self.attention[-1]).__name__} adds channels to the last stage\'s '
                            'output, which requires the last stage in out_indices.')
        self.plugins = plugins or ()
        added = [self.add_plugins(index, stage) for index, stage in enumerate(self.stages)]
        self.non_shape_arguments.update(style=self.style, **(dict(plugins=added) if plugins else {}))
        self._freeze_stages()  # again: what was added came after the host's call

    def make_res_layer(self, block: type, **kwargs) -> Stage:
        return Stage(super().make_res_layer(block=BLOCKS[block], **kwargs), self.recomputes)

    def add_plugins(self, index: int, stage: Stage) -> List[tuple]:
        """Put plugins into a stage; position, arguments and blocks of each."""
        added = []
        for position, cfg, blocks in plugins_of_stage(self.plugins, index, len(stage)):
            for block in blocks:
                stage[block].add_plugin(position, cfg)
            added.append((position, plugin_arguments(cfg), blocks))
        return added

    @property
    def stages(self) -> List[Stage]:
        return [getattr(self, name) for name in self.res_layers]

    def stem_map(self, x: Tensor) -> Tensor:
        """Input of the first stage."""
        return self.maxpool(self.stem(x) if self.deep_stem else self.relu(self.norm1(self.conv1(x))))

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        x, carry = self.stem_map(x), [None]
        outs = []
        for index, stage in enumerate(self.stages):
            x = stage(x, carry)
            if index in self.out_indices:
                outs.append(x)
        if index in self.out_indices:
            outs[-1] = self.attention[-1].finish(x, carry[0])
        return tuple(outs)

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

    def is_frozen(self, stage: int, layer: int) -> bool:
        return stage < self.frozen_stages

    @property
    def title(self) -> str:
        return f'{type(self).__name__}-{self.depth}'

    def block_name(self, stage: int, layer: int) -> str:
        return f'{self.res_layers[stage]}.{layer}'


@MODELS.register_module()
class ResNet(ResNetTrunk, host.ResNet):
    """mmpretrain's ResNet, by itself or with layer attention; takes all of its arguments.

    ``forward`` takes images (B, 3, H, W) and returns a tuple of the outputs of the stages in
    ``out_indices``, each (B, C_i, H_i, W_i). Parameter names of the trunk are torchvision's. The stages
    are ``layer1`` ..., their attention ``attention.0`` ...

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

    def __init__(self, depth: int, interaction: Optional[dict] = None, attention_init: str = 'scaled',
                 trunk: str = 'imagenet', **kwargs) -> None:
        kwargs = {**choose('trunk', trunk, dict(imagenet={}, cifar=CIFAR)), **kwargs}
        self.trunk = trunk
        if trunk == 'cifar':
            self.arch_settings = cifar_arch(depth)
        super().__init__(depth, interaction, attention_init, **kwargs)

    def _make_stem_layer(self, in_channels: int, stem_channels: int) -> None:
        super()._make_stem_layer(in_channels, stem_channels)
        if self.trunk == 'cifar':
            if self.deep_stem:
                raise UserError('deep_stem=True is only supported with trunk=\'imagenet\'.')
            self.conv1 = build_conv_layer(
                self.conv_cfg, in_channels, stem_channels, 3, padding=1, bias=False)
            self.maxpool = nn.Identity()
