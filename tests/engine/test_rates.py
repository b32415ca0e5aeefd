"""A rate for layer attention that the optimizer's constructor does not read."""
from importlib import import_module

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from torch import nn

from mmdla.engine import preflight
from mmdla.errors import UserError

KEY = 'backbone.attention.'


def check(constructor, custom_keys, splits=('train', )):
    preflight.check(Config(dict(model=dict(), optim_wrapper=dict(
        constructor=constructor, paramwise_cfg=dict(custom_keys=custom_keys)))), splits)


@pytest.mark.parametrize('constructor, settings, unread', [
    ('mmdet.LearningRateDecayOptimizerConstructor', dict(lr_mult=10), 'lr_mult'),
    ('LearningRateDecayOptimizerConstructor', dict(lr_mult=9, decay_mult=0.0), 'lr_mult and decay_mult'),
    ('mmpretrain.LearningRateDecayOptimWrapperConstructor', dict(lr_mult=9, decay_mult=0.0), 'lr_mult')])
def test_it_is_refused(constructor, settings, unread):
    with pytest.raises(UserError, match=f"does not read {unread} of .*, which has '{KEY}': ") as error:
        check(constructor, {KEY: settings})
    assert '\n' not in str(error.value)
    check(constructor, {'norm': settings})
    check(constructor, {KEY: settings}, ('test', ))


@pytest.mark.parametrize('constructor, settings', [
    ('LearningRateDecayOptimWrapperConstructor', dict(decay_mult=0.0)),
    ('DefaultOptimWrapperConstructor', dict(lr_mult=10)), (None, dict(lr_mult=10))])
def test_one_that_is_read_passes(constructor, settings):
    check(constructor, {KEY: settings})


@pytest.mark.parametrize('scope, name', [
    ('mmdet', 'LearningRateDecayOptimizerConstructor'),
    ('mmpretrain', 'LearningRateDecayOptimWrapperConstructor')])
def test_these_constructors_do_not_read_it(scope, name):
    """The rates of a ConvNeXt are the same with and without the key."""
    import_module(f'{scope}.engine')
    backbone = MODELS.build(dict(type='mmdla.ConvNeXt', arch=dict(depths=[1, 1], channels=[32, 64]),
                                 interaction=dict(type='mmdla.DLALight'), out_indices=(0, 1)))
    model = nn.ModuleDict(dict(backbone=backbone))
    model.get_layer_depth = lambda name: backbone.get_layer_depth(name, 'backbone.')
    plain = dict(num_layers=6, decay_rate=0.9)
    rates = []
    for settings in (plain, {**plain, 'custom_keys': {KEY: dict(lr_mult=10)}}):
        wrapper = build_optim_wrapper(model, dict(
            constructor=f'{scope}.{name}', paramwise_cfg=settings,
            optimizer=dict(type='AdamW', lr=1, weight_decay=1)))
        rate = {id(p): group['lr'] for group in wrapper.param_groups for p in group['params']}
        rates.append([rate[id(p)] for p in model.parameters()])
    assert rates[0] == rates[1]
