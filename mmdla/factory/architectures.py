"""The networks that have a name: those of the classification configs, and their other depths.

tests/factory compares each with its config.
"""
from functools import cache
from itertools import product
from typing import Dict, NamedTuple, Optional, Tuple


class Architecture(NamedTuple):
    """What a classifier is made of.

    Attributes:
        backbone (dict): Its config.
        num_features (int): Channels that the head reads.
        num_classes (int): Unless others are asked for.
        image_size (int): Height and width of its images in training.
        levels (tuple): Indices of the outputs that ``features_only`` gives by default.
        num_levels (int): Outputs that there are.
        pool (bool): Whether the mean over a map is taken ahead of the head.
        token (bool): Whether the head is that of a vision transformer.
        init_cfg (dict | list[dict], optional): Start of the whole network.
        head (dict): Arguments of the head.
        features (dict): Arguments of the backbone that differ for feature maps.
    """

    backbone: dict
    num_features: int
    num_classes: int = 1000
    image_size: int = 224
    levels: Tuple[int, ...] = (0, 1, 2, 3)
    num_levels: int = 4
    pool: bool = True
    token: bool = False
    init_cfg: Optional[object] = None
    head: dict = {}
    features: dict = {}


def dsu(reduction: int, **arguments) -> dict:
    return dict(type='mmdla.DSU', reduction=reduction, **arguments)


DEPTHS = (18, 34, 50, 101, 152)
CIFAR_DEPTHS = (20, 56, 110)
LIGHT = dict(dla_l='mmdla.DLALight', mrla_l='mmdla.MRLALight')
# arguments of the ResNets beside the depth; attention_init: as released
RESNETS = {
    'resnet': dict(type='mmdla.ResNet'),
    'mrla_l': dict(type='mmdla.MRLAResNet', attention_init='one'),
    'mrla_b': dict(type='mmdla.MRLAResNet', variant='base', dim_per_head=16, deep_stem=True,
                   attention_init='one'),
    'dla_l': dict(type='mmdla.DLAResNet', context_unit=dsu(20), attention_init='one'),
    'dla_b': dict(type='mmdla.DLAResNet', variant='base', dim_per_head=16, context_unit=dsu(20),
                  attention_init='one'),
    'dia': dict(type='mmdla.DIAResNet', context_unit=dict(type='mmdla.DIA', reduction=20)),
    'rla': dict(type='mmdla.RLAResNet', hidden_channels=32, hidden_output=True),
}
SPLIT = {'split_r16': dict(context_unit=dsu(16, form='split')),
         'split_r20': dict(context_unit=dsu(20, form='split'))}
PLUGINS = {
    'se': dict(cfg=dict(type='mmdla.SE', reduction=16)),
    'eca': dict(cfg=dict(type='mmdla.ECA')),
    'cbam': dict(cfg=dict(type='mmdla.CBAM', reduction=16)),
    'gc': dict(cfg=dict(type='ContextBlock', ratio=1 / 16), stages=(False, True, True, True)),
    'nl': dict(cfg=dict(type='NonLocal2d', reduction=2), position='after_block',
               blocks=((), (), (-2, ), ())),
    'ba': dict(cfg=dict(type='mmdla.BridgeAttention', reduction=16), position='bridge'),
    'aa': dict(cfg=dict(type='mmdla.AAConv2d'), position='conv2', stages=(False, True, True, True),
               per_stage=dict(size=(56, 28, 14, 7))),
}
A2_BLOCKS = {50: (1, 3, 5), 101: (6, 13, 20)}  # of the third stage
CIFAR = {
    'resnet': dict(type='mmdla.ResNet'),
    'mrla_l': dict(type='mmdla.MRLAResNet', attention_drop_path=0.2, attention_init='one'),
    'mrla_b': dict(type='mmdla.MRLAResNet', variant='base', dim_per_head=32, attention_drop_path=0.2,
                   attention_init='one'),
    'dla_l': dict(type='mmdla.DLAResNet', context_unit=dsu(4), attention_drop_path=0.2,
                  attention_init='one'),
    'dla_b': dict(type='mmdla.DLAResNet', variant='base', dim_per_head=32, context_unit=dsu(4),
                  attention_drop_path=0.2, attention_init='one'),
    'dia': dict(type='mmdla.DIAResNet', context_unit=dict(type='mmdla.DIA', reduction=4)),
}
CIFAR_SPLIT = {'dla_l{}_split_r4': dict(context_unit=dsu(4, form='split')),
               'dla_b{}_split_r4_tokens': dict(context_unit=dsu(4, form='split'), refresh='tokens')}
DEIT = {
    'mrla_l': dict(type='mmdla.MRLAVisionTransformer'),
    'mrla_b': dict(type='mmdla.MRLAVisionTransformer', variant='base'),
    'dla_l': dict(type='mmdla.DLAVisionTransformer'),
}
DEIT_SIZES = dict(tiny=(192, {}), small=(384, {}), base=(768, dict(drop_path_rate=0.1)))


def normal(*layers: str, **bias) -> dict:
    return dict(type='TruncNormal', layer=list(layers), std=0.02, **bias)


def ones(**bias) -> dict:
    return dict(type='Constant', layer='LayerNorm', val=1.0, **bias)


TRUNKS = {
    'resnext50_32x4d': Architecture(dict(type='mmdla.ResNeXt', depth=50), 2048),
    'swin_t': Architecture(
        dict(type='mmdla.SwinTransformer', arch='tiny', img_size=224, drop_path_rate=0.2), 768,
        init_cfg=[normal('Linear', bias=0.0), ones(bias=0.0)], head=dict(init_cfg=None)),
    'convnext_t': Architecture(
        dict(type='mmdla.ConvNeXt', arch='tiny', drop_path_rate=0.1), 768, pool=False,
        init_cfg=normal('Conv2d', 'Linear', bias=0.0), head=dict(init_cfg=None),
        features=dict(gap_before_final_norm=False)),
    'pvtv2_b2': Architecture(
        dict(type='mmdla.PyramidVisionTransformerV2', embed_dims=64, num_layers=[3, 4, 6, 3]), 512,
        init_cfg=[normal('Linear'), ones(bias=0.0)]),
}


def resnet(depth: int, system: str, **arguments) -> Architecture:
    """A ResNet for ImageNet."""
    backbone = {**RESNETS[system], 'depth': depth, **arguments}
    width = (512 if depth < 50 else 2048) + (32 if system == 'rla' else 0)
    return Architecture(backbone, width,
                        features=dict(hidden_output=False) if system == 'rla' else {})


def a2(depth: int) -> Architecture:
    """A ResNet with five double attention blocks."""
    return resnet(depth, 'resnet', plugins=[dict(
        cfg=dict(type='mmdla.DoubleAttention', reduction=2), position='after_block',
        blocks=((), (1, 3), A2_BLOCKS[depth], ()))])


def cifar(depth: int, system: str, **arguments) -> Architecture:
    """A ResNet for CIFAR."""
    backbone = {**CIFAR[system], 'trunk': 'cifar', 'depth': depth, **arguments}
    return Architecture(backbone, 256, 100, 32, (0, 1, 2), 3)


def deit(system: str, size: str) -> Architecture:
    """A DeiT; its levels are blocks."""
    width, arguments = DEIT_SIZES[size]
    return Architecture(
        {**DEIT[system], 'arch': f'deit-{size}', 'img_size': 224, 'patch_size': 16, **arguments}, width,
        levels=(2, 5, 8, 11), num_levels=12, pool=False, token=True,
        init_cfg=[normal('Linear'), ones(bias=0.0)], features=dict(out_type='featmap'))


@cache
def architectures() -> Dict[str, Architecture]:
    """All, by name."""
    found = {f'{system}{depth}': resnet(depth, system) for system, depth in product(RESNETS, DEPTHS)}
    found.update({f'dla_l{depth}_{suffix}': resnet(depth, 'dla_l', **arguments)
                  for (suffix, arguments), depth in product(SPLIT.items(), (50, 101))})
    found.update({f'{name}_resnet{depth}': resnet(depth, 'resnet', plugins=[plugin])
                  for (name, plugin), depth in product(PLUGINS.items(), DEPTHS)})
    found.update({f'a2_resnet{depth}': a2(depth) for depth in A2_BLOCKS})
    found.update({f'{system}{depth}_cifar': cifar(depth, system)
                  for system, depth in product(CIFAR, CIFAR_DEPTHS)})
    found.update({f'{pattern.format(depth)}_cifar': cifar(depth, pattern[:5], **arguments)
                  for (pattern, arguments), depth in product(CIFAR_SPLIT.items(), CIFAR_DEPTHS)})
    found.update({f'{name}_resnet{depth}_cifar': cifar(depth, 'resnet', plugins=[PLUGINS[name]])
                  for name, depth in product(('se', 'eca'), CIFAR_DEPTHS)})
    found.update({f'{system}_deit_{size}': deit(system, size)
                  for system, size in product(DEIT, DEIT_SIZES)})
    for (system, form), (trunk, plain) in product(LIGHT.items(), TRUNKS.items()):
        backbone = {**plain.backbone, 'interaction': dict(type=form)}
        found[f'{system}_{trunk}'] = plain._replace(backbone=backbone)
    return found
