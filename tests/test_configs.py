"""Every config builds, with exactly the parameters that the specification of the papers gives."""
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS as DETECTORS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdla.models import DLAResNet, MRLAResNet

CONFIGS = Path(__file__).parents[1] / 'configs'
ALL = sorted(str(p.relative_to(CONFIGS)) for p in CONFIGS.rglob('*.py') if '_base_' not in p.parts)
SPLIT_20 = dict(type='DSU', gates='split', reduction=20)

# all parameters, and those that frozen_stages=1 leaves to train where that is known
DETECTORS_OF_TABLE_3 = {
    'faster_rcnn_mrla_l50_1x_coco.py': (41_934_476, 41_699_886),
    'faster_rcnn_mrla_l101_1x_coco.py': (61_135_670, 60_901_080),
    'mask_rcnn_mrla_l50_1x_coco.py': (44_577_756, 44_343_166),
    'mask_rcnn_mrla_l101_1x_coco.py': (63_778_950, 63_544_360),
    'faster_rcnn_dla_l50_1x_coco.py': (43_365_516, None),
    'faster_rcnn_dla_l101_1x_coco.py': (62_566_710, None),
    'mask_rcnn_dla_l50_1x_coco.py': (46_008_796, None),
    'mask_rcnn_dla_l101_1x_coco.py': (65_209_990, None),
    'faster_rcnn_dla_l50_r50init_1x_coco.py': (43_365_516, None),
    'faster_rcnn_dla_l50_released_1x_coco.py': (44_208_392, 43_945_362),
}
SPLIT_DETECTORS = {
    'faster_rcnn_dla_l101_1x_coco.py': (63_409_586, 63_146_556),
    'mask_rcnn_dla_l50_1x_coco.py': (46_851_672, 46_588_642),
    'mask_rcnn_dla_l101_1x_coco.py': (66_052_866, 65_789_836),
}
CLASSIFIERS = [
    (MRLAResNet, dict(), 25_738_452, 44_939_646),
    (DLAResNet, dict(), 27_169_492, 46_370_686),
    (DLAResNet, dict(excite=False), 27_134_932, 46_336_126),
    (DLAResNet, dict(context_unit=SPLIT_20), 28_012_368, 47_213_562),
    (DLAResNet, dict(context_unit={**SPLIT_20, 'reduction': 16}), 28_581_812, 47_783_006),
]


def load(name):
    cfg = Config.fromfile(CONFIGS / name)
    init_default_scope(cfg.default_scope)
    return cfg


def count(model, trainable=False):
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


@pytest.mark.parametrize('name, counts', DETECTORS_OF_TABLE_3.items())
def test_detector_parameters(name, counts):
    model = DETECTORS.build(load(name).model)
    assert count(model) == counts[0]
    assert counts[1] is None or count(model, trainable=True) == counts[1]


@pytest.mark.parametrize('name, counts', SPLIT_DETECTORS.items())
def test_split_detector_parameters(name, counts):
    cfg = load(name)
    cfg.model.backbone.context_unit = SPLIT_20
    model = DETECTORS.build(cfg.model)
    assert (count(model), count(model, trainable=True)) == counts


@pytest.mark.parametrize('cls, kwargs, at_50, at_101', CLASSIFIERS)
def test_classifier_parameters(cls, kwargs, at_50, at_101):
    head = 2048 * 1000 + 1000
    assert count(cls(50, **kwargs)) + head == at_50
    assert count(cls(101, **kwargs)) + head == at_101


@pytest.mark.parametrize('name', [n for n in DETECTORS_OF_TABLE_3])
def test_recipe_of_the_papers(name):
    cfg = load(name)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (
        'SGD', 0.01, 0.9, 1e-4)
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 8
    assert cfg.train_cfg.max_epochs == 12
    assert cfg.param_scheduler[1].milestones == [8, 11] and cfg.param_scheduler[0].type == 'LinearLR'
    resize = next(t for t in cfg.train_dataloader.dataset.pipeline if t.type == 'Resize')
    assert tuple(resize.scale) == (1333, 800)
    backbone = cfg.model.backbone
    assert backbone.frozen_stages == 1 and backbone.norm_eval
    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.data_root == 'data/coco/'
    expected = ['bbox', 'segm'] if name.startswith('mask') else 'bbox'
    assert cfg.test_evaluator.metric == expected


@pytest.mark.parametrize('name', ALL)
def test_data_root_from_the_environment(name, monkeypatch):
    for variable in ('COCO_ROOT', 'MINI_ROOT', 'BCCD_ROOT'):
        monkeypatch.setenv(variable, '/elsewhere')
    cfg = load(name)
    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.data_root == '/elsewhere'
        if split != 'train':
            assert cfg[f'{split}_evaluator'].ann_file.startswith('/elsewhere/')


@pytest.mark.parametrize('name', ALL)
def test_forward_and_backward(name):
    """A step of every detector; every parameter that requires a gradient gets one."""
    from mmdet.testing import demo_mm_inputs
    cfg = load(name)
    cfg.model.backbone.init_cfg = None
    model = DETECTORS.build(cfg.model).train()
    classes = cfg.model.roi_head.bbox_head.num_classes
    inputs = demo_mm_inputs(2, [[3, 96, 128], [3, 128, 96]], num_classes=classes,
                            num_items=[3, 2], with_mask='mask' in name)
    data = model.data_preprocessor(inputs, True)
    losses = model.loss(data['inputs'], data['data_samples'])
    loss, _ = model.parse_losses(losses)
    assert loss.isfinite()
    loss.backward()
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing
    with torch.no_grad():
        model.eval().predict(data['inputs'], data['data_samples'])
