"""Classifiers of other libraries through the loader into our trunks, and PVT V1's release."""
from inspect import signature

import mmdet.models.backbones as mmdet
import mmpretrain.models.backbones as mmpretrain
import networks
import pytest
import torch
from mmdet.models.backbones.pvt import pvt_convert
from networks import CASES
from test_namings import source_of

from mmdla import models
from mmdla.errors import UserError
from mmdla.namings import namings_of, present
from mmdla.pretrained import load_backbone

OF_MMPRETRAIN = (
    'ResNet', 'ResNetV1d', 'ResNeXt', 'SEResNet', 'Res2Net', 'ResNeSt', 'RegNet', 'ConvNeXt',
    'SwinTransformer', 'EfficientNet', 'MobileNetV2', 'MobileNetV3', 'VisionTransformer', 'ViTSAM')
OF_MMDET = ('SwinTransformer', 'PyramidVisionTransformerV2')
NOT_OURS = ('timm resnet50c', 'timm seresnext26d_32x4d')


def with_attention(base, host):
    """One of our trunks whose layer attention starts at zero effect, with its host's arguments."""
    names = list(signature(host).parameters)

    def __init__(self, *args, **kwargs):
        base.__init__(self, **dict(zip(names, args)), **kwargs, attention_init='zero',
                      interaction=dict(type='mmdla.MRLALight'))
        self.init_weights()

    return type(base.__name__, (base, ), dict(__init__=__init__))


@pytest.fixture
def ours(monkeypatch):
    """Our trunks in the place of the hosts' in the table of cases."""
    short = networks.short
    for module, names in ((mmpretrain, OF_MMPRETRAIN), (mmdet, OF_MMDET)):
        for name in names:
            own = 'DetSwinTransformer' if module is mmdet and name == 'SwinTransformer' else name
            trunk = with_attention(getattr(models, own), getattr(module, name))
            monkeypatch.setattr(module, name, trunk)
    monkeypatch.setattr(networks, 'short', lambda cls, depth=50: short(
        getattr(mmpretrain, cls.__name__), depth))


@pytest.mark.usefixtures('ours')
@pytest.mark.parametrize('name', [
    pytest.param(name, marks=[pytest.mark.full] if case.full else [])
    for name, case in CASES.items() if name not in NOT_OURS])
def test_our_trunk_starts_as_the_classifier(name, tmp_path):
    case = CASES[name]
    source, tensors = source_of(case)
    torch.save(tensors, tmp_path / 'classifier.pth')
    model = case.host().double()
    model.eval()
    assert len(model.attention)
    load_backbone(model, str(tmp_path / 'classifier.pth'),
                  prefix='image_encoder' if 'SAM' in str(case.origin) else None)
    x = torch.randn(1, 3, case.size, case.size, dtype=torch.float64)
    with torch.no_grad():
        expected, out = case.out(source, x), model(x)[-1]
    assert (out - expected).abs().max() <= 1e-9 * expected.abs().max()


def refuses(model, source, tmp_path, words):
    torch.save(source.state_dict(), tmp_path / 'classifier.pth')
    with pytest.raises(UserError, match=words) as error:
        load_backbone(model, str(tmp_path / 'classifier.pth'))
    assert '\n' not in str(error.value)


def test_another_padding_than_the_checkpoints_is_refused(tmp_path):
    zero = dict(interaction=dict(type='mmdla.MRLALight'), attention_init='zero')
    refuses(models.EfficientNet('b0', **zero), networks.torchvision.efficientnet_b0(), tmp_path,
            'torchvision.* set conv_cfg=None')
    timm = pytest.importorskip('timm')
    refuses(models.MobileNetV3('small_050', **zero), timm.create_model('mobilenetv3_small_050'),
            tmp_path, "timm.* set norm_cfg=dict.type='BN'")


def released_pvt(tensors):
    """mmdet's PVT in the names of the release, with a class token that has a position."""
    found = {'cls_token': torch.zeros(1, 1, 64), 'norm.weight': torch.ones(64),
             'head.bias': torch.ones(9)}
    for name, value in tensors.items():
        _, stage, part, *rest = name.split('.')
        number, last = int(stage) + 1, name.rpartition('.')[2]
        if part == '0':
            rest[0] = rest[0].replace('projection', 'proj')
            found['.'.join([f'patch_embed{number}', *rest])] = value
        elif rest[1] == 'pos_embed':
            token = torch.full_like(value[:, :1], 9)
            found[f'pos_embed{number}'] = torch.cat([token, value], 1) if number == 4 else value
        else:
            block = f'block{number}.{int(rest[0]) - 1}'
            inside = '.'.join(rest[1:])
            if 'in_proj' in inside:
                last = last.removeprefix('in_proj_')
                third = len(value) // 3
                found[f'{block}.attn.q.{last}'], found[f'{block}.attn.kv.{last}'] = (
                    value[:third], value[third:])
                continue
            for old, new in (('attn.attn.out_proj', 'attn.proj'), ('ffn.layers.0', 'mlp.fc1'),
                             ('ffn.layers.3', 'mlp.fc2')):
                inside = inside.replace(old, new)
            linear = 'mlp' in inside and value.dim() == 4
            found[f'{block}.{inside}'] = value.flatten(1) if linear else value
    return found


def test_the_first_pvt_is_converted_as_mmdet_does():
    host = mmdet.PyramidVisionTransformer(embed_dims=8, num_layers=[1, 2, 1, 2], pretrain_img_size=64)
    own = {name: torch.randn_like(value) for name, value in host.state_dict().items()}
    released = released_pvt(own)
    renamed, naming = present(released, namings_of(models.PyramidVisionTransformer))
    assert naming == 'the PVT release' and renamed.keys() == own.keys()
    for name, value in own.items():
        assert torch.equal(renamed[name], value), name
    theirs = {name: value for name, value in pvt_convert(released).items() if name in own}
    assert theirs.keys() == own.keys()
