"""``mmdla.create_model``."""
import runpy
import sys
from pathlib import Path

import pytest
import torch
from our_configs import build
from torch import nn

import mmdla
from mmdla.errors import UserError
from mmdla.factory.architectures import architectures

ROOT = Path(__file__).parents[2]


def test_classes_and_functions_are_attributes_of_the_package():
    assert mmdla.DLAResNet is mmdla.models.DLAResNet
    assert all(hasattr(mmdla, name) for name in (*mmdla.models.__all__, *mmdla.__all__))
    assert {'DLAResNet', 'create_model'} <= set(dir(mmdla))
    with pytest.raises(AttributeError, match="module 'mmdla' has no attribute 'DLAResnet'"):
        getattr(mmdla, 'DLAResnet')  # noqa: B009


@pytest.mark.parametrize('name', ['dla_l20_cifar', 'mrla_l_deit_tiny', *(
    pytest.param(name, marks=pytest.mark.full) for name in (
        'rla18', 'se_resnet18', 'aa_resnet18', 'nl_resnet18', 'dla_b50', 'dla_l_swin_t',
        'mrla_l_convnext_t', 'dla_l_pvtv2_b2', 'dla_l_resnext50_32x4d'))])
def test_logits_features_and_maps(name):
    size, width = architectures()[name].image_size, architectures()[name].num_features
    images = torch.rand(2, 3, size, size)
    assert mmdla.create_model(name, num_classes=7)(images).shape == (2, 7)
    assert mmdla.create_model(name, num_classes=0)(images).shape == (2, width)
    model = mmdla.create_model(name, features_only=True, num_classes=7)
    maps = model(images)
    assert isinstance(maps, list) and model.training
    info = model.feature_info
    assert [x.shape[1] for x in maps] == info.channels() == [info.channels(i) for i in range(len(info))]
    assert [size // x.shape[2] for x in maps] == info.reduction()


def test_some_levels():
    model = mmdla.create_model('dla_l18', features_only=True, out_indices=(-1, 1), stem_channels=32,
                               base_channels=32)
    assert model.feature_info.out_indices == [1, 3]
    assert model.feature_info.channels() == [64, 256] and model.feature_info.reduction() == [8, 32]
    assert model.feature_info[0] == dict(num_chs=64, reduction=8, index=1)


def test_numbers_of_classes():
    assert mmdla.create_model('dla_l20_cifar').num_classes == 100
    model = mmdla.create_model('dla_l20_cifar', num_classes=10).double()
    assert model.get_classifier() is model.head.fc
    model.reset_classifier(4)
    assert model(torch.rand(1, 3, 32, 32).double()).shape == (1, 4)
    model.reset_classifier(0)
    maps = model.forward_features(torch.rand(1, 3, 32, 32).double())
    assert model.forward_head(maps).shape == (1, 256)
    assert isinstance(model.get_classifier(), nn.Identity)


def test_checkpoints_of_the_tools_load(tmp_path):
    trained = build('cifar/dla_l20_b128_cifar100.py').eval()
    trained.init_weights()
    path, images = tmp_path / 'a.pth', torch.rand(2, 3, 32, 32)
    torch.save(dict(state_dict=trained.state_dict(), meta={}), path)
    model = mmdla.create_model('dla_l20_cifar', pretrained=path).eval()
    torch.testing.assert_close(model(images), trained(images))
    features = mmdla.create_model('dla_l20_cifar', pretrained=str(path), num_classes=0).eval()
    torch.testing.assert_close(features(images), trained.extract_feat(images)[0])
    maps = mmdla.create_model('dla_l20_cifar', pretrained=path, features_only=True).eval()
    torch.testing.assert_close(maps(images)[-1], trained.backbone(images)[0])
    other = mmdla.create_model('dla_l20_cifar', num_classes=3)
    mmdla.load_backbone(other.backbone, str(path))
    assert torch.equal(other.backbone.conv1.weight, trained.backbone.conv1.weight)
    words = r'does not fit dla_l20_cifar with 3 classes, tensors: 2 of another shape \(head.fc.weight'
    with pytest.raises(UserError, match=words):
        mmdla.create_model('dla_l20_cifar', pretrained=path, num_classes=3)
    torch.save(dict(state_dict=trained.state_dict(), meta=dict(backbone=dict(
        type='mmdla.DLAResNet', depth=20, trunk='cifar', refresh_by='context',
        context_unit=dict(type='mmdla.DSU', reduction=4)))), path)
    with pytest.raises(UserError, match='was trained with refresh_by'):
        mmdla.create_model('dla_l20_cifar', pretrained=path)


@pytest.mark.parametrize('arguments, words', [
    (dict(name='dla34'), r"there is no network 'dla34': mmdla.list_models\(\) has their names"),
    (dict(pretrained=True), 'no weights of dla_l20_cifar are published'),
    (dict(pretrained='nowhere.pth'), 'checkpoint nowhere.pth does not exist'),
    (dict(num_classes=-1), 'num_classes must be 0 or a positive integer; got -1'),
    (dict(out_indices=(1, )), 'out_indices is an argument of features_only=True'),
    (dict(features_only=True, out_indices=(0, 3)), 'out_indices must be from 0 to 2'),
    (dict(nonsense=1), 'DLAResNet has no argument nonsense'),
    (dict(in_chans=1), "in_chans is timm's name: write in_channels=1"),
])
def test_mistakes_get_one_sentence(arguments, words):
    with pytest.raises(UserError, match=words):
        mmdla.create_model(**{'name': 'dla_l20_cifar', **arguments})


def test_torch_hub():
    model = torch.hub.load(str(ROOT), 'dla_l20_cifar', source='local', num_classes=5)
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 5)
    entries = runpy.run_path(str(ROOT / 'hubconf.py'))
    assert set(mmdla.list_models()) <= set(entries)
    assert entries['dla_l50'].__doc__ == mmdla.create_model.__doc__
    assert set(entries['dependencies']) <= set(sys.modules)
