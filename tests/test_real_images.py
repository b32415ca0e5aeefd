"""Configs on real images, from COCO_ROOT or data/coco and CIFAR_ROOT or data/cifar; else skipped."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from mmdet.registry import DATASETS
from mmdet.registry import MODELS as DETECTORS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS

from mmdla.datasets import CIFAR
from mmdla.models import DLAResNet


def run(*args, **env):
    result = subprocess.run([str(a) for a in args], text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT,
                            env={**os.environ, 'PYTHON': sys.executable, 'PYTHONPATH': '.', **env})
    assert result.returncode == 0, result.stdout
    return result.stdout


@pytest.mark.full
@pytest.mark.parametrize('kind, ap', [('faster', ['box AP']), ('mask', ['box AP', 'mask AP'])])
def test_train_and_test_at_full_size(kind, ap, coco_root, tmp_path):
    model = DLAResNet(50)
    model.init_weights()
    start = tmp_path / 'start.pth'
    torch.save(model.state_dict(), start)
    config, env = f'configs/{kind}_rcnn_dla_l50_1x_coco.py', dict(COCO_ROOT=str(coco_root))
    few = ['train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False',
           'val_dataloader.num_workers=0', 'val_dataloader.persistent_workers=False',
           'test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False']
    console = run('bash', 'tools/dist_train.sh', config, 1, '--work-dir', tmp_path, '--cfg-options',
                  f'model.backbone.init_cfg.checkpoint={start}', 'train_cfg.max_epochs=1',
                  'train_dataloader.dataset.indices=4', 'val_dataloader.dataset.indices=1',
                  'default_hooks.logger.interval=1', *few, **env)
    assert f'backbone: {len(model.state_dict())} of {len(model.state_dict())} tensors' in console
    losses = [float(v) for v in re.findall(r' loss: (\S+)', console)]
    assert len(losses) >= 3 and all(v == v and v < 100 for v in losses)
    console = run(sys.executable, 'tools/test.py', config, tmp_path / 'epoch_1.pth', '--work-dir',
                  tmp_path, '--show-dir', tmp_path / 'drawn', '--cfg-options',
                  'test_dataloader.dataset.indices=2', 'model.test_cfg.rcnn.score_thr=0.0', *few,
                  **env)
    assert all(words in console for words in ap)
    assert len(list((tmp_path / 'drawn').rglob('*.jpg'))) == 2
    assert json.loads((tmp_path / 'metrics.json').read_text())


TABLES = yaml.safe_load(Path('tools/analysis/paper_tables.yml').read_text())['tables']


ROWS = [row['config'] for table in TABLES if table['table'] == 3 for row in table['rows']]


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=() if name == 'faster_rcnn_dla_l50_1x_coco.py' else pytest.mark.full)
    for name in ROWS])
def test_steps_of_every_row_of_table_3(name, coco_root, monkeypatch):
    """Two steps on two images, at 320 pixels to save time."""
    monkeypatch.setenv('COCO_ROOT', str(coco_root))
    cfg = Config.fromfile(f'configs/{name}')
    data = cfg.train_dataloader.dataset
    data.indices = 4
    next(t for t in data.pipeline if t.type == 'Resize').scale = (533, 320)
    cfg.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset, model = DATASETS.build(data), DETECTORS.build(cfg.model)
        model.init_weights()
        optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-4))
        batch = pseudo_collate([dataset[i] for i in range(2)])
        losses = [model.train().train_step(batch, optimizer) for _ in range(2)]
    assert all(step['loss'].isfinite() for step in losses)


@pytest.mark.full
def test_cifar_100(cifar_root, monkeypatch):
    """The set's statistics and three steps on it."""
    monkeypatch.setenv('CIFAR_ROOT', str(cifar_root))
    cfg = Config.fromfile('configs/cifar/dla_l20_b128_cifar100.py')
    data = cfg.train_dataloader.dataset
    data.pop('type')
    train = CIFAR(**data)
    assert len(train) == 50_000 and (train.labels.bincount() == 500).all()
    std, mean = torch.std_mean(train.images.float(), (0, 2, 3))
    torch.testing.assert_close(mean, torch.tensor(cfg.data_preprocessor.mean), rtol=0, atol=0.01)
    torch.testing.assert_close(std, torch.tensor(cfg.data_preprocessor.std), rtol=0, atol=0.01)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    batch = train[torch.arange(0, 50_000, 1000)]
    losses = [model.train_step(batch, optimizer)['loss'].item() for _ in range(4)]
    assert losses[-1] < losses[0] < 10
