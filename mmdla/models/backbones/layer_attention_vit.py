"""Vision transformers with MRLA and DLA."""
from typing import Optional, Tuple, Type, Union

import torch
from mmcv.cnn.bricks import DropPath
from mmpretrain.models.backbones.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mmdla.errors import UserError, choose
from mmdla.models.layers.token_interaction import (
    DLALightTokens,
    MRLABaseTokens,
    MRLALightTokens,
    patch_map,
)
from mmdla.pretrained import load_backbone
from mmdla.registry import MODELS

from .arguments import meaning, split_init_cfg


def block_of(name: str, shared: int) -> int:
    """Block that owns a parameter of the interaction; ``shared`` where it serves all blocks."""
    part, _, rest = name.partition('.')
    return int(rest.split('.')[0]) if part in ('layers', 'norms', 'shortcut_norms') else shared


class LayerAttentionVisionTransformer(VisionTransformer):
    """mmpretrain's VisionTransformer with a layer interaction ('attention') after its blocks.

    Images of any size: the grid is that of the patch embedding, and the position embedding is
    resized to it.

    Args:
        arch (str | dict): 'deit-tiny', 'deit-small', 'deit-base' or another of the host's
            names, or its dict of ``embed_dims``, ``num_layers``, ``num_heads`` and
            ``feedforward_channels``.
        interaction (type): Class of the layer interaction.
        interaction_cfg (dict): Its arguments.
        norm_cfg (dict): All norms, those of the interaction too.
        frozen_stages (int): Blocks that are frozen, with their layer attention, from
            construction on; what all blocks share is frozen with the last. Default: -1, none.
        init_cfg (dict | list[dict], optional): As in mmpretrain, but
            ``dict(type='Pretrained', checkpoint=...)`` is strict, see
            :func:`mmdla.pretrained.load_backbone`.
        **kwargs: Other arguments of mmpretrain's VisionTransformer.

    Raises:
        UserError: For an argument that is out of its range.
    """

    def __init__(self,
                 arch: Union[str, dict],
                 interaction: Type[nn.Module],
                 interaction_cfg: dict,
                 norm_cfg: dict = dict(type='LN', eps=1e-6),
                 frozen_stages: int = -1,
                 init_cfg: Union[dict, list, None] = None,
                 **kwargs) -> None:
        self.arch = arch if isinstance(arch, str) else 'custom'
        if isinstance(arch, str):
            choose('arch', arch.lower(), self.arch_zoo)
        self.pretrained, random_init = split_init_cfg(init_cfg)
        super().__init__(arch, norm_cfg=norm_cfg, init_cfg=random_init or None, **kwargs)
        if frozen_stages > self.num_layers:
            raise UserError(f'frozen_stages={frozen_stages} exceeds the {self.num_layers} blocks of '
                            'this arch: choose at most that many.')
        self.attention = interaction(
            self.embed_dims, self.num_layers, norm_cfg=norm_cfg, **interaction_cfg)
        self.config = dict(
            num_heads=self.arch_settings['num_heads'],
            norm_cfg=dict(norm_cfg),
            **meaning(interaction, interaction_cfg))
        for module in self.modules():
            if isinstance(module, DropPath):  # NumPy's rates break torch.compile's graph
                module.drop_prob = float(module.drop_prob)
        self.frozen_stages = frozen_stages
        self.train()

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """
        Args:
            x (Tensor): Images, (B, 3, H, W).

        Returns:
            tuple[Tensor]: Outputs of the blocks in ``out_indices`` in the form of
            ``out_type``; by default the last block's class token, (B, C).
        """
        x, grid = self.patch_embed(x)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1)
        x = x + self.resize_pos_embed(self.pos_embed, self.patch_resolution, grid,
                                      self.interpolate_mode, self.num_extra_tokens)
        x = self.pre_norm(self.drop_after_pos(x))
        state, outs = None, []
        for index, block in enumerate(self.layers):
            x, state = self.attention(index, block(x), x, state, grid)
            if self.final_norm and index == self.num_layers - 1:
                x = self.ln1(x)
            if index in self.out_indices:
                outs.append(self._format_output(x, grid))
        return tuple(outs)

    def _format_output(self, x: Tensor, hw: Tuple[int, int]) -> Tensor:
        """As in mmpretrain; its form of a feature map fails for a batch of 0."""
        return patch_map(x, hw) if self.out_type == 'featmap' else super()._format_output(x, hw)

    def init_weights(self) -> None:
        if self.is_init:
            return
        super().init_weights()
        for cfg in self.pretrained:
            load_backbone(self, cfg['checkpoint'], cfg.get('prefix'))

    def _freeze_stages(self) -> None:
        super()._freeze_stages()
        for name, parameter in self.attention.named_parameters():
            if block_of(name, shared=self.num_layers - 1) < self.frozen_stages:
                parameter.requires_grad = False

    def train(self, mode: bool = True) -> 'LayerAttentionVisionTransformer':
        super().train(mode)
        if self.frozen_stages > 0:
            self._freeze_stages()
        return self

    def get_layer_depth(self, param_name: str, prefix: str = '') -> Tuple[int, int]:
        """As in mmpretrain; an attention layer counts as its block, a shared part as the first."""
        mark = f'{prefix}attention.'
        if param_name.startswith(mark):
            param_name = f'{prefix}layers.{block_of(param_name.removeprefix(mark), shared=0)}'
        return super().get_layer_depth(param_name, prefix)


@MODELS.register_module()
class MRLAVisionTransformer(LayerAttentionVisionTransformer):
    """Vision transformer with multi-head recurrent layer attention (MRLA, ICLR 2023).

    ``forward`` takes images (B, 3, H, W) and returns a tuple of the outputs of the blocks in
    ``out_indices``, by default the last block's class token, (B, C).

    Args:
        arch (str | dict): 'deit-tiny', 'deit-small' or 'deit-base' in the paper.
        variant (str): 'light' (MRLA-L, Eq. 3) or 'base' (MRLA-B, Eq. 2, over groups of four
            blocks).
        dim_per_head (int): Channels of one head of the layer attention.
        **kwargs: See :class:`LayerAttentionVisionTransformer`; among them the arguments of
            mmpretrain's VisionTransformer.

    Raises:
        UserError: For an argument that is out of its range.

    Example:
        >>> import torch
        >>> from mmdla.models import MRLAVisionTransformer
        >>> model = MRLAVisionTransformer('deit-tiny', out_type='featmap').eval()
        >>> [tuple(f.shape) for f in model(torch.rand(1, 3, 64, 96))]
        [(1, 192, 4, 6)]
    """

    variants = dict(light=MRLALightTokens, base=MRLABaseTokens)

    def __init__(self,
                 arch: Union[str, dict] = 'deit-tiny',
                 variant: str = 'light',
                 dim_per_head: int = 16,
                 **kwargs) -> None:
        interaction = choose('variant', variant, self.variants)
        super().__init__(arch, interaction, dict(dim_per_head=dim_per_head), **kwargs)


@MODELS.register_module()
class DLAVisionTransformer(LayerAttentionVisionTransformer):
    """Vision transformer with DLA-L, an extension of this package: the DLA paper has none.

    ``forward`` takes images (B, 3, H, W) and returns a tuple of the outputs of the blocks in
    ``out_indices``, by default the last block's class token, (B, C).

    Args:
        arch (str | dict): 'deit-tiny', 'deit-small', 'deit-base' or another of the host's.
        context_unit (dict, optional): The unit Dyn of all blocks, by default
            ``dict(type='DSU', gates='joint', reduction=20, normalizer='sigmoid')``; other types
            are 'RNN', 'LSTM' and 'DIA', see :mod:`mmdla.models.layers.context_unit`.
        gate (str): 'sigmoid' (default): the unit's output, sigmoid(c) of the DSU, multiplies the
            features; 'identity': c does.
        initial_context (str): ``c_0``: 'zeros' (default) or 'learned'.
        excite (bool): Whether there is E, a depthwise 3x3 convolution that all blocks share.
        dim_per_head (int): Channels of one head of the layer attention.
        **kwargs: See :class:`LayerAttentionVisionTransformer`; among them the arguments of
            mmpretrain's VisionTransformer.

    Raises:
        UserError: For an argument that is out of its range.
    """

    def __init__(self,
                 arch: Union[str, dict] = 'deit-tiny',
                 context_unit: Optional[dict] = None,
                 gate: str = 'sigmoid',
                 initial_context: str = 'zeros',
                 excite: bool = True,
                 dim_per_head: int = 16,
                 **kwargs) -> None:
        interaction_cfg = dict(
            context_unit=context_unit,
            gate=gate,
            initial_context=initial_context,
            excite=excite,
            dim_per_head=dim_per_head)
        super().__init__(arch, DLALightTokens, interaction_cfg, **kwargs)
