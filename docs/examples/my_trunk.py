"""A backbone of one's own, and the adapter that puts layer attention after its blocks."""
from mmengine.model import BaseModule
from torch import nn

from mmdla.registry import MODELS
from mmdla.trunks.trunk import Trunk


class Block(nn.Module):

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        return x + self.norm(self.conv(x)).relu()


class MyNet(BaseModule):

    def __init__(self, widths=(32, 64), depths=(2, 3), frozen_stages=0, init_cfg=None):
        super().__init__(init_cfg)
        self.widths, self.depths, self.frozen_stages = widths, depths, frozen_stages
        self.downsample = nn.ModuleList(
            nn.Conv2d(before, c, 4, 4) for before, c in zip((3, *widths), widths))
        self.stages = nn.ModuleList(nn.Sequential(*(Block(c) for _ in range(n)))
                                    for c, n in zip(widths, depths))

    def forward(self, x):
        outs = []
        for downsample, blocks in zip(self.downsample, self.stages):
            x = blocks(downsample(x))
            outs.append(x)
        return tuple(outs)


@MODELS.register_module()
class MyTrunk(Trunk, MyNet):
    """MyNet with ``interaction``, ``attention_init``, ``with_cp`` and a strict ``init_cfg``."""

    def __init__(self, interaction=None, attention_init='scaled', **kwargs):
        super().__init__(**self.host_arguments(kwargs))
        stages = list(zip(self.widths, self.depths))
        self.add_attention(interaction, attention_init, stages, dict(type='BN'))

    def forward(self, x):
        outs, state = [], None
        for i, blocks in enumerate(self.stages):
            x, state = self.scan(i, blocks, self.downsample[i](x), state)
            outs.append(x)
        return tuple(outs)

    def is_frozen(self, stage, layer):
        return stage < self.frozen_stages

    def block_name(self, stage, layer):
        return f'stages.{stage}.{layer}'
