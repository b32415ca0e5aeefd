"""A training step and a prediction of every config's model."""
import re

import pytest
import torch
from mmdet.registry import MODELS as DETECTORS
from our_configs import CLASSIFICATION, DETECTION, build_classifier, load


def missing_gradients(model):
    return [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]


def steps(names, twins):
    """These, of which those with a twin in the default tier, only another head or depth, are full's."""
    return pytest.mark.parametrize('name', [
        pytest.param(name, marks=pytest.mark.full if re.search(twins, name) else ()) for name in names])


@steps([n for n in DETECTION if '101' not in n],
       r'mask_rcnn_(?!dla_l50_1x)[\w-]+_coco|comparison/faster_rcnn_(?!rla)|upgrade/|mrla_b|mrla_l|cascade')
def test_step_of_every_detector(name):
    """Every parameter that requires a gradient gets one."""
    from mmdet.testing import demo_mm_inputs
    cfg = load(name)
    cfg.model.backbone.init_cfg = None
    model = DETECTORS.build(cfg.model).train()
    inputs = demo_mm_inputs(2, [[3, 96, 128], [3, 128, 96]], num_classes=3, num_items=[3, 2],
                            with_mask='mask' in name)
    data = model.data_preprocessor(inputs, True)
    losses = model.loss(data['inputs'], data['data_samples'])
    loss, _ = model.parse_losses(losses)
    assert loss.isfinite()
    loss.backward()
    assert not missing_gradients(model)
    with torch.no_grad():
        model.eval().predict(data['inputs'], data['data_samples'])


@steps([n for n in CLASSIFICATION if not any(s in n for s in ('56', '101', 'small_', 'base_'))],
       r'cifar10\.py|cifar/.*110_|_split-r20_|trunks/mrla')
def test_step_of_every_classifier(name):
    """One size of each family; every parameter gets a gradient."""
    from mmpretrain.structures import DataSample
    model = build_classifier(load(name)).train()
    size = 32 if 'cifar' in name else 224 if 'swin' in name else 64
    samples = [DataSample().set_gt_label(label).set_gt_score(torch.eye(model.head.num_classes)[label])
               for label in (1, 2)]
    losses = model(torch.randn(2, 3, size, size), samples, mode='loss')
    assert losses['loss'].isfinite()
    losses['loss'].backward()
    assert not missing_gradients(model)
    predictions = model.eval()(torch.randn(2, 3, size, size), samples, mode='predict')
    assert all(0 <= p.pred_label < model.head.num_classes for p in predictions)
