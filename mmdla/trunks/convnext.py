"""mmpretrain's ConvNeXt, V1 and V2, with layer attention after its blocks."""
from typing import Optional, Tuple, Union

from mmpretrain.models.backbones import convnext as host
from torch import Tensor

from mmdla.errors import UserError, choose
from mmdla.registry import MODELS

from .arguments import defaults_of, norm_on_maps
from .trunk import Trunk


@MODELS.register_module()
class ConvNeXt(Trunk, host.ConvNeXt):
    """ConvNeXt (V2 with ``use_grn=True, layer_scale_init_value=0.``), its LN for the attention's norms.

    ``forward`` takes images (B, 3, H, W) and returns a tuple of the outputs of the stages in
    ``out_indices``, each (B, C_i, H_i, W_i), or (B, C_i) with ``gap_before_final_norm``.

    Args:
        arch (str | dict): 'tiny', 'small', 'base' or another of the host's names, or its dict.
        interaction, attention_init, with_cp, init_cfg: See :class:`mmdla.trunks.trunk.Trunk`.
        **kwargs: Other arguments of mmpretrain's ConvNeXt.

    Raises:
        UserError: For an argument that is out of its range.
    """

    norms_outputs = True

    def __init__(self, arch: Union[str, dict] = 'tiny', interaction: Optional[dict] = None,
                 attention_init: str = 'scaled', **kwargs) -> None:
        if isinstance(arch, str):
            choose('arch', arch, self.arch_settings)
        super().__init__(arch, **self.host_arguments(kwargs))
        if not set(self.out_indices) <= set(range(self.num_stages)):
            raise UserError(f'out_indices={tuple(self.out_indices)} are not all of the '
                            f'{self.num_stages} stages, 0 to {self.num_stages - 1}.')
        norm_cfg = kwargs.get('norm_cfg', defaults_of(host.ConvNeXt)['norm_cfg'])
        self.add_attention(interaction, attention_init, list(zip(self.channels, self.depths)),
                           norm_on_maps(norm_cfg))

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        outs, state = [], None
        for i, (downsample, blocks) in enumerate(zip(self.downsample_layers, self.stages)):
            x, state = self.scan(i, blocks, downsample(x), state)
            if i in self.out_indices:
                norm = getattr(self, f'norm{i}')
                outs.append(norm(x.mean((2, 3), keepdim=True)).flatten(1)
                            if self.gap_before_final_norm else norm(x))
        return tuple(outs)

    def is_frozen(self, stage: int, layer: int) -> bool:
        return stage < self.frozen_stages

    def block_name(self, stage: int, layer: int) -> str:
        return f'stages.{stage}.{layer}'
