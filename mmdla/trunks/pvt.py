"""mmdet's Pyramid Vision Transformers with layer attention after their blocks."""
from typing import Optional, Tuple

from mmdet.models.backbones import pvt as host
from torch import Tensor

from mmdla.registry import MODELS

from .arguments import check_outputs, defaults_of
from .tokens import TokenTrunk, to_map


class PVTTrunk(TokenTrunk):
    """What both versions share."""

    def __init__(self, interaction: Optional[dict] = None, attention_init: str = 'scaled',
                 **kwargs) -> None:
        check_outputs(kwargs, kwargs.get('num_stages', 4))
        super().__init__(**self.host_arguments(kwargs))
        widths = [self.embed_dims * heads for heads in self.num_heads]
        norm_cfg = kwargs.get('norm_cfg', defaults_of(host.PyramidVisionTransformer)['norm_cfg'])
        self.add_token_attention(interaction, attention_init, list(zip(widths, self.num_layers)),
                                 norm_cfg)

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        outs, state = [], None
        for i, (patch_embed, layers, norm) in enumerate(self.layers):
            x, size = patch_embed(x)
            first, layers = self.first_block(i), list(layers)
            for position in layers[:first]:
                x = position(x, size)
            x, state = self.scan_tokens(i, layers[first:], x, state, size)
            x = to_map(norm(x), size).contiguous()
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def first_block(self, stage: int) -> int:
        """1 where the position embedding is the first of a stage's layers, else 0."""
        return len(self.layers[stage][1]) - self.num_layers[stage]

    def block_name(self, stage: int, layer: int) -> str:
        return f'layers.{stage}.1.{self.first_block(stage) + layer}'


@MODELS.register_module()
class PyramidVisionTransformer(PVTTrunk, host.PyramidVisionTransformer):
    """Pyramid Vision Transformer (PVT).

    ``forward`` takes images (B, 3, H, W) and returns a tuple of the outputs of the stages in
    ``out_indices``, each (B, C_i, H_i, W_i).

    Args:
        interaction, attention_init, with_cp, init_cfg: See :class:`mmdla.trunks.trunk.Trunk`.
        **kwargs: Other arguments of mmdet's class. ``convert_weights`` has no effect: the names in a
            checkpoint are recognised.

    Raises:
        UserError: For an argument that is out of its range.
    """


@MODELS.register_module()
class PyramidVisionTransformerV2(PVTTrunk, host.PyramidVisionTransformerV2):
    """PVTv2.

    ``forward`` takes images (B, 3, H, W) and returns a tuple of the outputs of the stages in
    ``out_indices``, each (B, C_i, H_i, W_i).

    Args:
        interaction, attention_init, with_cp, init_cfg: See :class:`mmdla.trunks.trunk.Trunk`.
        **kwargs: Other arguments of mmdet's class. ``convert_weights`` has no effect: the names in a
            checkpoint are recognised.

    Raises:
        UserError: For an argument that is out of its range.
    """
