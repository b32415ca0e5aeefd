"""Which of the other libraries' networks, by name, fill the hosts' whole, and which don't."""
import mmdet.models.backbones as mmdet
import mmpretrain.models.backbones as mmpretrain
import pytest
import torch
from networks import timm
from torchvision import models as torchvision

from mmdla.namings import namings_of, present
from mmdla.pretrained import HEADS, mismatches

P = mmpretrain
V2 = dict(use_grn=True, layer_scale_init_value=0.)
UNPOOLED = dict(deep_stem=False, avg_down=False)
# library, network, host's class, its arguments
AGREE = [
    ('timm', 'resnet101d', P.ResNetV1d, dict(depth=101)),
    ('timm', 'resnet50s', P.ResNetV1c, dict(depth=50, stem_channels=128)),
    ('torchvision', 'wide_resnet50_2', P.ResNet, dict(depth=50, base_channels=128, expansion=2)),
    ('timm', 'seresnext101_32x4d', P.SEResNeXt, dict(depth=101, groups=32, width_per_group=4)),
    ('timm', 'resnest101e', P.ResNeSt, dict(depth=101, stem_channels=128)),
    ('timm', 'res2net101d', P.Res2Net, dict(depth=101)),
    ('timm', 'res2net50_26w_6s', P.Res2Net, dict(depth=50, scales=6, **UNPOOLED)),
    *[('timm', f'regnetx_{theirs}', P.RegNet, dict(arch=f'regnetx_{ours}')) for theirs, ours in [
        ('004', '400mf'), ('008', '800mf'), ('016', '1.6gf'), ('032', '3.2gf'), ('040', '4.0gf'),
        ('064', '6.4gf'), ('080', '8.0gf'), ('120', '12gf')]],
    *[('torchvision', f'regnet_x_{theirs}', P.RegNet, dict(arch=f'regnetx_{ours}')) for theirs, ours in [
        ('800mf', '800mf'), ('1_6gf', '1.6gf'), ('3_2gf', '3.2gf'), ('8gf', '8.0gf')]],
    *[(library, f'convnext_{size}', P.ConvNeXt, dict(arch=size))
      for library in ('timm', 'torchvision') for size in ('small', 'base')],
    *[('timm', f'convnextv2_{size}', P.ConvNeXt, dict(arch=size, **V2)) for size in ('pico', 'base')],
    *[('torchvision', f'swin_{size}', P.SwinTransformer, dict(arch=size)) for size in 'sb'],
    ('timm', 'swin_base_patch4_window12_384', P.SwinTransformer,
     dict(arch='base', img_size=384, window_size=12)),
    ('timm', 'pvt_v2_b1', mmdet.PyramidVisionTransformerV2, dict(num_layers=[2, 2, 2, 2])),
    ('timm', 'pvt_v2_b5', mmdet.PyramidVisionTransformerV2,
     dict(num_layers=[3, 6, 40, 3], mlp_ratios=(4, 4, 4, 4))),
    *[(library, f'efficientnet_{size}', P.EfficientNet, dict(arch=size))
      for library in ('timm', 'torchvision') for size in ('b1', 'b2', 'b3', 'b4', 'b7')],
    ('timm', 'efficientnet_em', P.EfficientNet, dict(arch='em')),
    *[('timm', f'mobilenetv2_{width}', P.MobileNetV2, dict(widen_factor=int(width) / 100))
      for width in ('050', '100', '140')],
    ('timm', 'deit_base_patch16_224', P.VisionTransformer, dict(arch='deit-b')),
    ('torchvision', 'vit_l_16', P.VisionTransformer, dict(arch='large')),
    ('timm', 'samvit_large_patch16', P.ViTSAM, dict(arch='large', img_size=1024)),
]
DIFFER = [
    ('timm', 'resnet50t', P.ResNetV1d, dict(depth=50)),
    ('timm', 'res2next50', P.Res2Net, dict(depth=50, base_width=32, **UNPOOLED)),
    ('timm', 'ecaresnet50d', P.ResNetV1d, dict(depth=50)),
    ('timm', 'regnety_004', P.RegNet, dict(arch='regnetx_400mf')),
    ('torchvision', 'regnet_x_400mf', P.RegNet, dict(arch='regnetx_400mf')),
    ('timm', 'convnext_atto_ols', P.ConvNeXt, dict(arch='atto')),
    ('timm', 'swin_s3_tiny_224', P.SwinTransformer, dict(arch='tiny')),
    ('timm', 'swinv2_tiny_window8_256', P.SwinTransformer, dict(arch='tiny', window_size=8)),
    ('timm', 'pvt_v2_b2_li', mmdet.PyramidVisionTransformerV2, dict(num_layers=[3, 4, 6, 3])),
    ('timm', 'efficientnet_el', P.EfficientNet, dict(arch='el')),
    ('timm', 'efficientnet_lite0', P.EfficientNet, dict(arch='b0')),
    ('timm', 'efficientnetv2_rw_t', P.EfficientNet, dict(arch='b0')),
    ('timm', 'mobilenetv2_110d', P.MobileNetV2, dict(widen_factor=1.1)),
    ('timm', 'mobilenetv3_rw', P.MobileNetV3, dict(arch='large')),
    ('timm', 'tf_mobilenetv3_large_minimal_100', P.MobileNetV3, dict(arch='large')),
    ('timm', 'deit3_base_patch16_224', P.VisionTransformer,
     dict(arch='base', layer_scale_init_value=1.)),
    ('timm', 'deit_tiny_distilled_patch16_224', P.VisionTransformer, dict(arch='deit-t')),
]


def what_does_not_fit(library, name, cls, arguments):
    on_meta = 'regnet_x' not in name  # torchvision's draw their start from the tensors' values
    with torch.device('meta' if on_meta else 'cpu'):
        source = timm(name) if library == 'timm' else getattr(torchvision, name)()
    host = cls(**arguments).state_dict()
    renamed, _ = present(source.state_dict(), namings_of(cls))
    return mismatches(host, {name: value for name, value in renamed.items()
                             if not name.startswith(HEADS)})


def names(table):
    return [f'{library} {name}' for library, name, *_ in table]


@pytest.mark.full
@pytest.mark.parametrize('network', AGREE, ids=names(AGREE))
def test_fills_the_host(network):
    assert what_does_not_fit(*network) == []


@pytest.mark.full
@pytest.mark.parametrize('network', DIFFER, ids=names(DIFFER))
def test_another_network_does_not(network):
    assert what_does_not_fit(*network)
