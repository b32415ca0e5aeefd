"""Registries of scope ``mmdla``, so that ``type='mmdla.X'`` works in any config."""
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import Registry

MODELS = Registry('model', parent=MMENGINE_MODELS, scope='mmdla', locations=['mmdla.models'])
