"""Every comparison system trains on the generated sets with our tools."""
import json

import pytest
from mmengine.config import Config

SYSTEMS = ('resnet50', 'se-r50', 'eca-r50', 'cbam-r50', 'a2-r50', 'aa-r50', 'gc-r50', 'nl-r50', 'ba-r50',
           'rla-r50')
DETECTORS = ('resnet50', 'se-r50', 'eca-r50', 'gc-r50', 'nl-r50', 'ba-r50', 'rla-r50')


@pytest.fixture(scope='module')
def mini_shapes(tmp_path_factory):
    import make_mini_shapes
    root = tmp_path_factory.mktemp('shapes')
    for seed, (split, count) in enumerate((('train', 16), ('val', 5))):
        make_mini_shapes.make_split(root / split, count, seed)
    return root


def train(call, tmp_path, base, backbone, **model):
    """Losses of an epoch of the base config with another backbone of half the width."""
    for key in ('init_cfg', 'frozen_stages', 'norm_eval', 'num_stages', 'out_indices', 'norm_cfg'):
        backbone.pop(key, None)
    config = Config.fromfile(base)
    config.model.backbone = dict(
        backbone, stem_channels=16, base_channels=16,
        out_indices=config.model.backbone.get('out_indices', (3, )))
    config.merge_from_dict(dict(model=model))
    config.merge_from_dict({
        'train_cfg.max_epochs': 1, 'train_dataloader.batch_size': 4,
        'default_hooks.logger.interval': 1, 'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False, 'val_dataloader.num_workers': 0,
        'val_dataloader.persistent_workers': False})
    path = tmp_path / 'config.py'
    config.dump(path)
    done = call('train.py', path, '--work-dir', tmp_path)
    assert done.returncode == 0, done.stderr
    lines = next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()
    return [line['loss'] for line in map(json.loads, lines) if 'loss' in line]


@pytest.mark.parametrize('system', [
    pytest.param(system, marks=() if system in ('ba-r50', 'rla-r50') else pytest.mark.full)
    for system in SYSTEMS])
def test_classifier(call, system, mini_shapes, tmp_path, monkeypatch):
    monkeypatch.setenv('MINI_SHAPES_ROOT', str(mini_shapes))
    backbone = Config.fromfile(f'configs/comparison/{system}_8xb32_in1k.py').model.backbone
    losses = train(call, tmp_path, 'configs/mini/mrla_l18_mini_shapes.py', backbone,
                   head=dict(in_channels=512 + (32 if system == 'rla-r50' else 0)))
    assert len(losses) == 4 and all(0 < loss < 10 for loss in losses)


@pytest.mark.parametrize('system', [
    pytest.param(system, marks=() if system == 'rla-r50' else pytest.mark.full)
    for system in DETECTORS])
def test_detector(call, system, mini_root, tmp_path, monkeypatch):
    monkeypatch.setenv('MINI_ROOT', str(mini_root))
    backbone = Config.fromfile(f'configs/comparison/faster_rcnn_{system}_1x_coco.py').model.backbone
    losses = train(call, tmp_path, 'configs/mini/faster_rcnn_mrla_l18_mini.py', backbone,
                   neck=dict(in_channels=[64, 128, 256, 512]))
    assert len(losses) == 3 and all(0 < loss < 20 for loss in losses)
