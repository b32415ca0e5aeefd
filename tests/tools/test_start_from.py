"""tools/train.py and tools/test.py from a trained detector."""
import json
import logging
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

PLAIN = 'configs/mini/faster_rcnn_resnet18_mini.py'
DLA = 'configs/upgrade/faster_rcnn_dla_l18_2e_mini.py'
SHORT = ['--cfg-options', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=9',
         'model.test_cfg.rcnn.score_thr=0.0', 'model.test_cfg.rpn.max_per_img=50']
for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
    SHORT += [f'{loader}.num_workers=0', f'{loader}.persistent_workers=False',
              f'{loader}.dataset.indices=2']


@pytest.fixture(autouse=True)
def data(monkeypatch, mini_root):
    monkeypatch.setenv('MINI_ROOT', str(mini_root))
    logging.disable(logging.NOTSET)


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    """A plain detector with statistics of its own, so that no norm is the identity."""
    path, cfg = tmp_path_factory.mktemp('plain') / 'detector.pth', Config.fromfile(PLAIN)
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    model.init_weights()
    for name, value in model.state_dict().items():
        if 'running_' in name:
            value.uniform_(0.5, 1.5)
    meta = dict(dataset_meta=dict(classes=cfg.classes))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return path


def weights(path):
    """Parameters of a checkpoint: what a learning rate of zero leaves alone."""
    state = torch.load(path, weights_only=False)['state_dict']
    return {name: value for name, value in state.items()
            if 'running_' not in name and 'tracked' not in name}


def test_the_start_detects_what_the_plain_detector_detects(call, detector, tmp_path):
    for name, args in (('plain', [PLAIN, detector]), ('start', [DLA, '--start-from', detector])):
        done = call('test.py', *args, '--work-dir', tmp_path / name, *SHORT)
        assert done.returncode == 0, done.stderr
    for file in ('results.bbox.json', 'metrics.json'):
        plain, start = ((tmp_path / name / file).read_text() for name in ('plain', 'start'))
        assert plain == start and json.loads(plain)


def test_training_starts_there_and_goes_on_after_a_stop(call, detector, tmp_path):
    """The learning rate is zero, so that the weights are still those of the start."""
    frozen = [*SHORT, 'optim_wrapper.optimizer.lr=0.0', 'param_scheduler=None']
    args = ['train.py', DLA, '--start-from', detector, '--work-dir', tmp_path, '--resume']
    done = call(*args, *frozen)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert f'no checkpoint in {tmp_path}: training starts from {detector}' in said
    assert '192 of 192 tensors taken; attention (88 tensors) starts at zero effect' in said
    before, after = weights(detector), weights(tmp_path / 'epoch_1.pth')
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(value.any() for name, value in after.items()
                   if '.attention.' in name and '.norms.' in name and name.endswith('.weight'))
    done = call(*args, *frozen, 'train_cfg.max_epochs=2')
    said = done.stdout + done.stderr
    assert f'going on from {tmp_path / "epoch_1.pth"}' in said and 'started from' not in said
    assert (tmp_path / 'epoch_2.pth').is_file()
    done = call('train.py', DLA, '--resume', tmp_path / 'epoch_1.pth', '--work-dir', tmp_path, *frozen,
                f'start_from={detector}')
    assert 'is of the end of the run' in done.stdout


def test_other_classes_of_a_config_that_names_its_start(call, detector, tmp_path):
    """Two of the five classes, in the order of the file."""
    config = tmp_path / 'two.py'
    config.write_text(f'''
_base_ = {str(Path(DLA).resolve())!r}
start_from = {str(detector)!r}
metainfo = dict(classes=('disk', 'star'))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
model = dict(roi_head=dict(bbox_head=dict(num_classes=2)))
''')
    done = call('train.py', config, '--work-dir', tmp_path / 'w', *SHORT)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert ('188 of 192 tensors taken; attention (88 tensors) starts at zero effect; made anew, '
            'since it was trained on other classes (disk, box, triangle and 2 more): '
            'roi_head.bbox_head.fc_cls.weight' in said)
    assert (tmp_path / 'w' / 'epoch_1.pth').is_file()


def test_what_is_said_of_a_run_that_only_loads_weights(call, detector, tmp_path):
    """Of classes in another order, whose heads are taken as they are, and of a warm-up too long."""
    checkpoint = torch.load(detector, weights_only=False)
    checkpoint['meta']['dataset_meta']['classes'] = ('box', 'disk', 'triangle', 'star', 'cross')
    torch.save(checkpoint, tmp_path / 'x.pth')
    done = call('train.py', PLAIN, '--work-dir', tmp_path / 'w', *SHORT, f'load_from={tmp_path}/x.pth')
    assert done.returncode == 0, done.stderr
    assert 'loaded into heads of other classes than its own (its classes are in another' in done.stdout
    assert 'note: the warm-up (param_scheduler.0, LinearLR) takes 60 iterations and the' in done.stdout
