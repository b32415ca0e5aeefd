import pytest
from mmengine.config import Config

from mmdla.engine.image_shape import shape_in_tests


@pytest.mark.parametrize('name, shape', [
    ('mini/faster_rcnn_dla_l18_mini', (256, 320)), ('faster_rcnn_dla_l50_1x_coco', (800, 1344)),
    ('imagenet/dla_l50_8xb32_in1k', (224, 224)), ('mini/dla_l18_mini_shapes', None)])
def test_of_configs(name, shape):
    assert shape_in_tests(Config.fromfile(f'configs/{name}.py')) == shape


@pytest.mark.parametrize('steps, shape', [
    ([dict(type='Resize', scale=(100, 200))], (200, 100)),
    ([dict(type='mmdet.FixScaleResize', scale=(100, 200), keep_ratio=True)], (100, 200)),
    ([dict(type='ResizeEdge', scale=64), dict(type='CenterCrop', crop_size=(40, 30))], (30, 40)),
    ([dict(type='Resize', scale=50), dict(type='Pad', size_divisor=32)], (64, 64)),
    ([dict(type='Resize', scale_factor=2.0)], None)])
def test_of_pipelines(steps, shape):
    dataset = dict(type='RepeatDataset', dataset=dict(pipeline=steps))
    assert shape_in_tests(Config(dict(model={}, test_dataloader=dict(dataset=dataset)))) == shape
