"""A trunk of one's own: mmpretrain's ConvNeXt with layer attention after its blocks."""
from mmpretrain.models.backbones import convnext

from mmdla.registry import MODELS
from mmdla.trunks.trunk import Trunk


@MODELS.register_module()
class MyConvNeXt(Trunk, convnext.ConvNeXt):
    """Takes the host's arguments, and ``interaction`` and ``attention_init``."""

    def __init__(self, arch='tiny', interaction=None, attention_init='scaled', **kwargs):
        super().__init__(arch, **self.host_arguments(kwargs))
        stages = list(zip(self.channels, self.depths))
        self.add_attention(interaction, attention_init, stages, dict(type='mmpretrain.LN2d', eps=1e-6))
        self.freeze_attention(self.frozen_stages)

    def forward(self, x):
        outs, state = [], None
        for i, blocks in enumerate(self.stages):
            x = self.downsample_layers[i](x)
            state = self.attention[i].initial_state(x, state)
            for index, block in enumerate(blocks):
                x, state = self.connect(self.attention[i], index, block(x), x, state)
            if i in self.out_indices:
                pool = self.gap_before_final_norm
                out = getattr(self, f'norm{i}')(x.mean((2, 3), keepdim=True) if pool else x)
                outs.append(out.flatten(1) if pool else out)
        return tuple(outs)

    def train(self, mode=True):
        super().train(mode)
        self.freeze_attention(self.frozen_stages)
        return self

    def block_name(self, stage, layer):
        return f'stages.{stage}.{layer}'
