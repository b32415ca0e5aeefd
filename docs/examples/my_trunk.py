"""A trunk of one's own: mmpretrain's ConvNeXt with layer attention after its blocks."""
from mmpretrain.models.backbones import convnext

from mmdla.registry import MODELS
from mmdla.trunks.trunk import Trunk


@MODELS.register_module()
class MyConvNeXt(Trunk, convnext.ConvNeXt):
    """Takes the host's arguments, and ``interaction`` and ``attention_init``."""

    def __init__(self, arch='tiny', interaction=None, attention_init='scaled', **kwargs):
        self.size, self.attention_init = str(arch), attention_init
        super().__init__(arch, **self.split_init_cfg(kwargs))
        norm_cfg = dict(type='mmpretrain.LN2d', eps=1e-6)
        self.add_attention(interaction, list(zip(self.channels, self.depths)), norm_cfg)

    def forward(self, x):
        outs, state = [], None
        for i, blocks in enumerate(self.stages):
            x = self.downsample_layers[i](x)
            state = self.attention[i].initial_state(x, state)
            for index, block in enumerate(blocks):
                x, state = self.connect(self.attention[i], index, block(x), x, state)
            if i in self.out_indices:
                outs.append(getattr(self, f'norm{i}')(x))
        return tuple(outs)

    def block_name(self, stage, layer):
        return f'stages.{stage}.{layer}'
