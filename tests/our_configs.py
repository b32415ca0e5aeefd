"""Our configs, as the tests read and build them."""
from pathlib import Path

import torch
from mmdet.registry import MODELS as DETECTORS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS as CLASSIFIERS
from torch.overrides import TorchFunctionMode

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / 'configs'
ALL = sorted(str(p.relative_to(CONFIGS)) for p in CONFIGS.rglob('*.py') if '_base_' not in p.parts)
DETECTION = [name for name in ALL if 'rcnn' in name or 'retinanet' in name]
CLASSIFICATION = [name for name in ALL if name not in DETECTION]


def load(name):
    cfg = Config.fromfile(CONFIGS / name)
    init_default_scope(cfg.default_scope)
    return cfg


def build_classifier(cfg):
    cfg.model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    return CLASSIFIERS.build(cfg.model)


def build(name):
    cfg = load(name)
    return DETECTORS.build(cfg.model) if name in DETECTION else build_classifier(cfg)


class WithoutMemory(TorchFunctionMode):
    """Parameters are made on the meta device: there is nothing to fill or to initialise.

    Under ``torch.device('meta')`` the hosts could not read their drop path rates.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        return function(*args, **({**kwargs, 'device': 'meta'} if function is torch.empty else kwargs))


def count(model, trainable=False):
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)
