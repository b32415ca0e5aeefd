"""mmpretrain's ViTSAM, the backbone of ViTDet and SAM, with layer attention after its blocks."""
from typing import Dict, Optional, Tuple, Union

from mmpretrain.models.backbones import vit_sam as host
from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor, nn

from mmdla.attention.interaction import interaction_class
from mmdla.errors import UserError, choose
from mmdla.registry import MODELS

from .arguments import defaults_of, norm_on_maps, without_numpy
from .trunk import Trunk


@MODELS.register_module()
class ViTSAM(Trunk, host.ViTSAM):
    """Vision transformer with windows, relative positions and no class token (ViTDet, SAM).

    All blocks are one stage, ``attention.0``. For a form that works on the residual branch (LII) the
    branch is what a whole block adds to its input.

    Args:
        arch (str | dict): 'base', 'large', 'huge', or the host's dict.
        interaction, attention_init, with_cp, init_cfg: See :class:`mmdla.trunks.trunk.Trunk`; the
            interaction's ``for_tokens`` replaces its defaults.
        **kwargs: Other arguments of mmpretrain's ViTSAM.

    Raises:
        UserError: For an argument that is out of its range.
    """

    def __init__(self, arch: Union[str, dict] = 'base', interaction: Optional[dict] = None,
                 attention_init: str = 'scaled', **kwargs) -> None:
        if isinstance(arch, str):
            choose('arch', arch.lower(), self.arch_zoo)
        if kwargs.get('use_abs_pos') is False:
            raise UserError('ViTSAM of mmpretrain needs its position embedding: leave use_abs_pos out.')
        super().__init__(arch, **self.host_arguments(kwargs))
        without_numpy(self)
        norm_cfg = kwargs.get('norm_cfg', defaults_of(host.ViTSAM)['norm_cfg'])
        self.add_attention(interaction, attention_init, [(self.embed_dims, self.num_layers)],
                           norm_on_maps(norm_cfg), **interaction_class(interaction).for_tokens)
        self.non_shape_arguments.update(num_heads=self.arch_settings['num_heads'])

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        x, size = self.patch_embed(x)
        position = resize_pos_embed(self.pos_embed.flatten(1, 2), self.patch_resolution, size,
                                    mode=self.interpolate_mode, num_extra_tokens=0)
        x = self.drop_after_pos(x.unflatten(1, size) + position.unflatten(1, size))
        x = x.permute(0, 3, 1, 2)
        state, outs = self.attention[0].initial_state(x, None), []
        for index, block in enumerate(self.layers):
            x, state = self.run_layer(0, index, block, x, state)
            if index in self.out_indices:
                out = self.channel_reduction(x) if self.out_channels > 0 else x
                outs.append(self._format_output(out))
        return tuple(outs)

    def step(self, attention: nn.Module, index: int, block: nn.Module, x: Tensor,
             state) -> Tuple[Tensor, object]:
        out = block(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.connect(attention, index, out, x, state)

    def resize(self, tensors: Dict[str, Tensor], filename: str) -> None:
        """Resize the position embedding and the relative positions to this backbone's ``img_size``."""
        self._prepare_pos_embed(tensors, '')
        self._prepare_relative_position(tensors, '')

    def train(self, mode: bool = True) -> 'ViTSAM':
        super().train(mode)
        if self.frozen_stages > 0:
            self._freeze_stages()
        return self

    def is_frozen(self, stage: int, layer: int) -> bool:
        return layer < self.frozen_stages

    def block_name(self, stage: int, layer: int) -> str:
        return f'layers.{layer}'
