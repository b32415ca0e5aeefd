"""Swin Transformer with layer attention after its blocks: mmpretrain's, and mmdet's for detectors."""
from typing import Dict, Optional, Tuple, Union

import torch.nn.functional as F
from mmdet.models.backbones import swin as of_mmdet
from mmpretrain.models.backbones import swin_transformer as of_mmpretrain
from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor

from mmdla.errors import choose
from mmdla.registry import MODELS

from .arguments import check_outputs, defaults_of
from .tokens import TokenTrunk, to_map


class SwinTrunk(TokenTrunk):
    """What both hosts share."""

    norms_outputs = True

    def resize(self, tensors: Dict[str, Tensor], filename: str) -> None:
        """Resize the tables of position biases to this backbone's windows."""
        for name, own in self.state_dict().items():
            table = tensors.get(name)
            if name.endswith('relative_position_bias_table') and table is not None and (
                    table.shape != own.shape and table.shape[1:] == own.shape[1:]):
                before, after = (round(len(t)**0.5) for t in (table, own))
                resized = F.interpolate(table.T.view(1, -1, before, before).float(), size=(after, after),
                                        mode='bicubic', align_corners=False)
                tensors[name] = resized.flatten(2)[0].T.to(table.dtype).contiguous()
                index = name.replace('bias_table', 'index')
                tensors[index] = self.state_dict()[index]

    def block_name(self, stage: int, layer: int) -> str:
        return f'stages.{stage}.blocks.{layer}'


@MODELS.register_module()
class SwinTransformer(SwinTrunk, of_mmpretrain.SwinTransformer):
    """mmpretrain's Swin Transformer (V1), of classifiers; :class:`DetSwinTransformer` is mmdet's.

    ``forward`` takes images (B, 3, H, W) and returns a tuple of the outputs of the stages in
    ``out_indices``, each (B, C_i, H_i, W_i).

    Args:
        arch (str | dict): 'tiny', 'small', 'base', 'large', or the host's dict.
        interaction, attention_init, with_cp, init_cfg: See :class:`mmdla.trunks.trunk.Trunk`.
        norm_cfg (dict): Norm of the outputs and of the attention.
        **kwargs: Other arguments of mmpretrain's SwinTransformer.

    Raises:
        UserError: For an argument that is out of its range.
    """

    advice = dict.fromkeys(('embed_dims', 'depths', 'num_heads', 'pretrain_img_size', 'convert_weights'),
                           ': it is one of mmdet\'s class, type=\'mmdla.DetSwinTransformer\'')

    def __init__(self, arch: Union[str, dict] = 'tiny', interaction: Optional[dict] = None,
                 attention_init: str = 'scaled', **kwargs) -> None:
        if isinstance(arch, str):
            choose('arch', arch.lower(), self.arch_zoo)
        check_outputs(kwargs, 4 if isinstance(arch, str) else len(arch.get('depths', range(4))))
        super().__init__(arch, **self.host_arguments(kwargs))
        widths = [stage.embed_dims for stage in self.stages]
        norm_cfg = kwargs.get('norm_cfg') or defaults_of(of_mmpretrain.SwinTransformer)['norm_cfg']
        self.add_token_attention(interaction, attention_init, list(zip(widths, self.depths)), norm_cfg)

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        x, size = self.patch_embed(x)
        if self.use_abs_pos_embed:
            x = x + resize_pos_embed(self.absolute_pos_embed, self.patch_resolution, size,
                                     self.interpolate_mode, self.num_extra_tokens)
        x = self.drop_after_pos(x)
        outs, state = [], None
        for i, stage in enumerate(self.stages):
            x, state = self.scan_tokens(i, stage.blocks, x, state, size)
            here, there = x, size
            if stage.downsample is not None:
                x, size = stage.downsample(x, size)
            if i in self.out_indices:
                here, there = (x, size) if self.out_after_downsample else (here, there)
                outs.append(to_map(getattr(self, f'norm{i}')(here), there).contiguous())
        return tuple(outs)

    def is_frozen(self, stage: int, layer: int) -> bool:
        return stage <= self.frozen_stages


@MODELS.register_module()
class DetSwinTransformer(SwinTrunk, of_mmdet.SwinTransformer):
    """mmdet's Swin Transformer (V1), which pads small maps to a window; takes mmdet's arguments.

    The host's name is that of mmpretrain's, hence the ``Det``. ``forward`` takes images (B, 3, H, W)
    and returns a tuple of the outputs of the stages in ``out_indices``, each (B, C_i, H_i, W_i).

    Args:
        interaction, attention_init, with_cp, init_cfg: See :class:`mmdla.trunks.trunk.Trunk`.
        **kwargs: Other arguments of mmdet's class. ``convert_weights`` has no effect: the names in a
            checkpoint are recognised.

    Raises:
        UserError: For an argument that is out of its range.
    """

    advice = dict.fromkeys(('arch', 'img_size', 'pad_small_map', 'stage_cfgs'),
                           ': it is one of mmpretrain\'s class, type=\'mmdla.SwinTransformer\'')

    def __init__(self, interaction: Optional[dict] = None, attention_init: str = 'scaled',
                 **kwargs) -> None:
        given = {**defaults_of(of_mmdet.SwinTransformer), **kwargs}
        check_outputs(kwargs, len(given['depths']))
        super().__init__(**self.host_arguments(kwargs))
        self.add_token_attention(interaction, attention_init,
                                 list(zip(self.num_features, given['depths'])), given['norm_cfg'])

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        x, size = self.patch_embed(x)
        if self.use_abs_pos_embed:
            x = x + self.absolute_pos_embed
        x = self.drop_after_pos(x)
        outs, state = [], None
        for i, stage in enumerate(self.stages):
            x, state = self.scan_tokens(i, stage.blocks, x, state, size)
            if i in self.out_indices:
                outs.append(to_map(getattr(self, f'norm{i}')(x), size).contiguous())
            if stage.downsample is not None:
                x, size = stage.downsample(x, size)
        return tuple(outs)

    def is_frozen(self, stage: int, layer: int) -> bool:
        return stage < self.frozen_stages
