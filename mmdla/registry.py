"""Registries of scope ``mmdla``, so that ``type='mmdla.X'`` works in any config."""
from mmengine import registry
from mmengine.registry import Registry

MODELS = Registry('model', parent=registry.MODELS, scope='mmdla', locations=['mmdla.models'])
DATASETS = Registry('dataset', parent=registry.DATASETS, scope='mmdla', locations=['mmdla.datasets'])
FUNCTIONS = Registry(
    'function', parent=registry.FUNCTIONS, scope='mmdla', locations=['mmdla.datasets'])
HOOKS = Registry(
    'hook', parent=registry.HOOKS, scope='mmdla',
    locations=['mmdla.engine.checkpoint_hook', 'mmdla.engine.finite_loss_hook'])
