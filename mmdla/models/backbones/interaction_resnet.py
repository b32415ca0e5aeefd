"""mmpretrain's ResNet with a layer interaction in every stage."""
from functools import partial
from typing import Callable, Optional, Sequence, Tuple

import torch.utils.checkpoint as cp
from mmengine.model.weight_init import constant_init
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck, ResLayer, ResNet
from torch import Tensor, nn

from mmdla.engine.pretrained import load_backbone
from mmdla.errors import choose


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


class InteractionResNet(ResNet):
    """Base of the backbones here; takes every argument of mmpretrain's ResNet.

    Parameter names of the trunk are torchvision's, those of the interaction of stage i start
    with ``layer{i}.attention``.

    Args:
        depth (int): 18, 34, 50, 101 or 152.
        variant (str): A key of ``variants``, the interactions that a subclass offers.
        interaction_cfg (dict): Arguments of the interaction.
        attention_init (str): Start of the gammas of the attention branch's norms. 'scaled',
            1 / sqrt(layers of the stage): outputs keep ordinary magnitudes whatever the
            depth, with frozen norms too. 'one', as released. 'zero': the network starts as the
            plain ResNet, so that ordinary ResNet weights can be its start.
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
    variants = {}
    attention_inits = dict(scaled=lambda n: n**-0.5, one=lambda n: 1.0, zero=lambda n: 0.0)

    def __init__(self,
                 depth: int,
                 variant: str,
                 interaction_cfg: dict,
                 attention_init: str = 'scaled',
                 init_cfg: Optional[dict] = None,
                 **kwargs) -> None:
        choose('depth', depth, self.arch_settings)
        choose('attention_init', attention_init, self.attention_inits)
        self.attention_init = attention_init
        self.interaction = partial(choose('variant', variant, self.variants), **interaction_cfg)
        init_cfgs = [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg or [])
        self.pretrained = [cfg for cfg in init_cfgs if 'checkpoint' in cfg]
        random_init = [cfg for cfg in init_cfgs if 'checkpoint' not in cfg]
        if random_init:
            kwargs['init_cfg'] = random_init
        super().__init__(depth, **kwargs)

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
        for stage in self.stages:
            gamma = self.attention_inits[self.attention_init](len(stage))
            for norm in stage.attention.norms:
                constant_init(norm, gamma)
        for cfg in self.pretrained:
            load_backbone(self, cfg['checkpoint'], cfg.get('prefix'))

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
