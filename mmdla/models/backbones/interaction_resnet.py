"""mmpretrain's ResNet with a layer interaction in every stage."""
from functools import partial
from typing import Callable, Optional, Sequence, Tuple, Type

import torch.utils.checkpoint as cp
from mmcv.cnn import build_conv_layer
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck, ResLayer, ResNet
from torch import Tensor, nn

from mmdla.engine.pretrained import load_backbone
from mmdla.errors import UserError, choose

from .arguments import meaning, split_init_cfg


class BasicBranch(BasicBlock):
    """mmpretrain's BasicBlock up to, but without, its sum."""

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        """(B, C_in, H, W) to the residual branch and the shortcut, both (B, C, H', W')."""
        out = self.relu(self.norm1(self.conv1(x)))
        out = self.drop_path(self.norm2(self.conv2(out)))
        return out, x if self.downsample is None else self.downsample(x)


class BottleneckBranch(Bottleneck):
    """mmpretrain's Bottleneck up to, but without, its sum."""

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        """(B, C_in, H, W) to the residual branch and the shortcut, both (B, C, H', W')."""
        out = self.relu(self.norm1(self.conv1(x)))
        out = self.relu(self.norm2(self.conv2(out)))
        out = self.drop_path(self.norm3(self.conv3(out)))
        return out, x if self.downsample is None else self.downsample(x)


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
        branch, shortcut = self[index](x)
        return self.attention(index, branch, shortcut, state)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for index in range(self.num_blocks):
            if self.with_cp and x.requires_grad:
                x, state = cp.checkpoint(self.layer, index, x, state, use_reentrant=False)
            else:
                x, state = self.layer(index, x, state)
        return x


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
    the arguments of the interaction and ``style``, with their defaults.

    Args:
        depth (int): 18, 34, 50, 101 or 152; on the CIFAR trunk any 9n + 2, such as 20, 56, 110.
        interaction (type): Class of the layer interaction.
        interaction_cfg (dict): Its arguments.
        trunk (str): 'imagenet', or 'cifar': three stages of n bottleneck blocks with 64, 128 and
            256 channels behind a 3x3 convolution, for 32x32 images.
        init_cfg (dict | list[dict], optional): As in mmpretrain, but
            ``dict(type='Pretrained', checkpoint=...)`` is strict, see
            :func:`mmdla.engine.pretrained.load_backbone`.

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
                 init_cfg: Optional[dict] = None,
                 **kwargs) -> None:
        kwargs = {**choose('trunk', trunk, self.trunks), **kwargs}
        self.trunk = trunk
        if trunk == 'cifar':
            self.arch_settings = cifar_arch(depth)
        choose('depth', depth, self.arch_settings)
        self.interaction = partial(interaction, **interaction_cfg)
        self.pretrained, random_init = split_init_cfg(init_cfg)
        if random_init:
            kwargs['init_cfg'] = random_init
        super().__init__(depth, **kwargs)
        self.config = dict(style=self.style, **meaning(interaction, interaction_cfg))

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
        return Stage(interaction=interaction, **kwargs)

    @property
    def stages(self) -> Sequence[Stage]:
        return [getattr(self, name) for name in self.res_layers]

    def init_weights(self) -> None:
        if self.is_init:
            return
        super().init_weights()
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
