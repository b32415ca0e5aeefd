"""The networks with a name are those of the classification configs."""
import re

import pytest
import torch
from our_configs import CLASSIFICATION, WithoutMemory, build

from mmdla.factory.architectures import architectures
from mmdla.factory.create import create_model, list_models
from mmdla.factory.networks import Classifier

RULES = (
    ('imagenet/{}_8xb32_in1k.py', r'(dla_[lb]|mrla_[lb]|dia)(50|101)'),
    ('imagenet/{}_8xb32_in1k.py', r'dla_l(50|101)_split-r\d+'),
    ('imagenet/{}_8xb128_in1k.py', r'\w+_deit_\w+'),
    ('comparison/{}_8xb32_in1k.py', r'(resnet|\w+-r|rla-r)(50|101)'),
    ('cifar/{}_b128_cifar100.py', r'.*'),
    ('trunks/{}_in1k.py', r'.*'),
)


def name_of(config):
    """The name of a config's network; None for one that has none."""
    for pattern, kind in RULES:
        match = re.fullmatch(re.escape(pattern).replace(r'\{\}', f'({kind})'), config)
        if match:
            name = match[1].replace('rla-r', 'rla').replace('-r', '_resnet')
            name = re.sub(r'split_resnet(\d+)(-tokens)?', r'split_r\1\2', name)
            name = re.sub(r'_\d+xb\d+$', '', name).replace('-', '_')
            return f'{name}_cifar' if config.startswith('cifar/') else name
    return None


NAMES = {config: name_of(config) for config in CLASSIFICATION if name_of(config)}
CHEAP = ('imagenet/dla_l50_8xb32_in1k.py', 'imagenet/mrla_b_deit_tiny_8xb128_in1k.py',
         'cifar/dla_b20_split-r4-tokens_b128_cifar100.py', 'comparison/rla-r50_8xb32_in1k.py')


def test_every_classification_config_has_its_network():
    left = {config for config in CLASSIFICATION if config not in NAMES}
    assert {config.split('/')[0] for config in left} - {'cifar'} == {'ablation', 'mini', 'comparison'}
    assert all(config.startswith('cifar/short/') or config.endswith('_cifar10.py')
               for config in left if config.startswith('cifar/'))
    assert {config for config in left if config.startswith('comparison/')} == {
        'comparison/aa-r50_pooled_8xb32_in1k.py'}
    assert set(NAMES.values()) <= set(architectures())


@pytest.mark.parametrize('config', [
    pytest.param(config, marks=() if config in CHEAP else pytest.mark.full) for config in NAMES])
def test_it_is_the_network_of_the_config(config, monkeypatch):
    monkeypatch.setattr(Classifier, 'init_weights', lambda self: None)
    with WithoutMemory():
        ours, theirs = create_model(NAMES[config]), build(config)
    assert repr(ours.backbone) == repr(theirs.backbone)
    assert repr(ours.get_classifier()) == repr(
        theirs.head.layers.head if hasattr(theirs.head, 'layers') else theirs.head.fc)
    assert ours.backbone.non_shape_arguments == theirs.backbone.non_shape_arguments
    assert ours.backbone.attention_init == theirs.backbone.attention_init
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == {
        name: tensor.shape for name, tensor in theirs.state_dict().items()}


@pytest.mark.parametrize('config', [
    'cifar/dla_l20_b128_cifar100.py', 'imagenet/dla_l_deit_tiny_8xb128_in1k.py',
    *(pytest.param(f'trunks/dla_l_{trunk}_in1k.py', marks=pytest.mark.full)
      for trunk in ('swin-t_16xb64', 'convnext-t_32xb128', 'pvtv2-b2_8xb128',
                    'resnext50-32x4d_8xb32'))])
def test_it_starts_as_the_network_of_the_config(config):
    torch.manual_seed(1)
    ours = create_model(NAMES[config])
    torch.manual_seed(1)
    theirs = build(config)
    theirs.init_weights()
    for (name, tensor), other in zip(ours.state_dict().items(), theirs.state_dict().values()):
        if not torch.equal(tensor, other):  # drawn at another place in the sequence of random numbers
            assert tensor.std() == pytest.approx(other.std(), rel=0.2, abs=1e-3), name
            assert tensor.mean() == pytest.approx(other.mean(), abs=2e-2), name


def test_names():
    assert list_models('dla_l*', exclude=('*_split*', '*deit*', '*_cifar')) == [
        'dla_l18', 'dla_l34', 'dla_l50', 'dla_l101', 'dla_l152', 'dla_l_convnext_t', 'dla_l_pvtv2_b2',
        'dla_l_resnext50_32x4d', 'dla_l_swin_t']
    assert len(list_models()) == len(architectures()) > 100
    assert list_models('nothing') == []
