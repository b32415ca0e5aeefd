"""The command-line tools, run as a user runs them."""
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

CONFIG = 'configs/mini/faster_rcnn_dla_l18_mini.py'


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def run(*args, check=True, **env):
    result = subprocess.run(
        [str(a) for a in args],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, 'PYTHON': sys.executable, 'PYTHONPATH': '.',
             'OMP_NUM_THREADS': '1', 'PORT': str(free_port()), **env})
    if check:
        assert result.returncode == 0, result.stdout
    return result


@pytest.fixture
def fails(call):
    """Run a tool in this process: it must exit with one sentence and 1."""

    def check(words, tool, *args):
        done = call(tool, *args)
        assert done.returncode == 1 and words in done.stderr
        assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1

    return check


@pytest.fixture(scope='module')
def mask_run(mini_root, tmp_path_factory):
    """A Mask R-CNN trained for two epochs of a few iterations: its work dir and console."""
    work = tmp_path_factory.mktemp('mask')
    result = run(sys.executable, 'tools/train.py', 'configs/mini/mask_rcnn_mrla_l18_mini.py',
                 '--work-dir', work, '--cfg-options', 'train_cfg.max_epochs=2',
                 'train_dataloader.dataset.indices=6', 'val_dataloader.dataset.indices=2',
                 'default_hooks.logger.interval=1', MINI_ROOT=str(mini_root))
    return work, result.stdout


def test_training_shows_what_a_person_wants_to_see(mask_run):
    work, console = mask_run
    assert (work / 'epoch_2.pth').is_file()
    for word in ('Epoch(train)', 'lr:', 'eta:', 'loss_mask:'):
        assert word in console
    for dump in ('System environment', 'Config:', 'Initialized by', 'Hooks will be executed'):
        assert dump not in console
    log = next(work.glob('*/*.log')).read_text()
    for dump in ('System environment', 'Config:', 'Initialized by'):
        assert dump in log


def test_resume_goes_on(mask_run, mini_root, tmp_path):
    work = tmp_path / 'work'
    shutil.copytree(mask_run[0], work)
    (work / 'last_checkpoint').write_text(str(work / 'epoch_2.pth'))
    result = run(sys.executable, 'tools/train.py', 'configs/mini/mask_rcnn_mrla_l18_mini.py',
                 '--work-dir', work, '--resume', '--cfg-options', 'train_cfg.max_epochs=3',
                 'train_dataloader.dataset.indices=6', 'val_dataloader.dataset.indices=2',
                 MINI_ROOT=str(mini_root))
    assert 'resumed epoch: 2' in result.stdout and (work / 'epoch_3.pth').is_file()


def test_testing_prints_box_and_mask_ap_and_writes_results(call, mask_run, mini_root, tmp_path):
    work, _ = mask_run
    result = run(sys.executable, 'tools/test.py', 'configs/mini/mask_rcnn_mrla_l18_mini.py',
                 work / 'epoch_2.pth', '--work-dir', tmp_path, '--show-dir', tmp_path / 'drawn',
                 '--out', tmp_path / 'all.pkl', '--cfg-options',
                 'model.test_cfg.rcnn.score_thr=0.0', MINI_ROOT=str(mini_root))
    assert 'box AP' in result.stdout and 'mask AP' in result.stdout
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert {'coco/bbox_mAP', 'coco/segm_mAP_50'} <= metrics.keys()
    for kind in ('bbox', 'segm'):
        detections = json.loads((tmp_path / f'results.{kind}.json').read_text())
        assert {'image_id', 'category_id', 'score', 'bbox'} <= detections[0].keys()
    assert len(list((tmp_path / 'drawn').glob('*.png'))) == 6
    assert (tmp_path / 'all.pkl').is_file()
    for headings, height in (([], 720), (['--headings', 'ground truth', 'detections'], 748)):
        grid = call('analysis/picture_grid.py', tmp_path / 'drawn', tmp_path / 'grid.png', *headings)
        assert str(tmp_path / 'grid.png') in grid.stdout
        sheet = cv2.imread(str(tmp_path / 'grid.png'))
        assert sheet.shape == (height, 1280, 3)
    parts = np.split(sheet[:28], 4, 1)  # two columns of two parts, with a heading in each
    assert all((part < 128).any() and (part[:, :40] == 255).all() for part in parts)


def test_mistakes_get_one_sentence(fails, mask_run, mini_root, tmp_path, monkeypatch):
    work, _ = mask_run
    train, test = 'train.py', 'test.py'
    monkeypatch.setenv('MINI_ROOT', 'none')
    fails('none/annotations/instances_train2017.json does not exist', train, CONFIG)
    monkeypatch.setenv('MINI_ROOT', str(mini_root))
    to = ('--work-dir', tmp_path)
    fails('configs/none.py does not exist', train, 'configs/none.py')
    fails('dla_l50_in1k.pth does not exist, from which the backbone starts', train,
          'configs/faster_rcnn_dla_l50_1x_coco.py')
    fails('does not fit the config', test, CONFIG, work / 'epoch_2.pth', *to)
    fails('none.pth does not exist', test, CONFIG, 'none.pth', *to)
    fails('none.pth does not exist', train, CONFIG, '--resume', 'none.pth', *to)
    other = work / 'epoch_2.pth'
    fails('does not fit the config', train, CONFIG, '--resume', other, *to)
    fails('does not fit the config', train, CONFIG, *to, '--cfg-options', f'load_from={other}')
    fails('cannot be read with these options', train, CONFIG, '--cfg-options',
          'model.backbone.depth.x=1')
    fails('got 99', train, CONFIG, *to, '--cfg-options', 'model.backbone.depth=99')
    if not torch.cuda.is_available():
        fails('--amp needs a GPU', train, CONFIG, '--amp')


def test_a_mistake_ends_without_a_traceback():
    result = run(sys.executable, 'tools/test.py', 'configs/none.py', 'none.pth', check=False)
    assert result.returncode == 1 and 'Traceback' not in result.stdout
    assert result.stdout.strip().splitlines()[-1].startswith('error: config configs/none.py')


def test_distributed_tools_say_how_they_are_used():
    for tool in ('dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh'):
        result = run('bash', f'tools/{tool}', CONFIG, check=False)
        assert result.returncode == 2 and f'usage: bash tools/{tool}' in result.stdout


@pytest.mark.full
def test_mmdets_own_tools_run_our_configs(mini_root, tmp_path):
    """train.py through custom_imports; test.py, which imports the operators first, through -m mmdla."""
    import mmdet
    tools = Path(mmdet.__file__).parent / '.mim' / 'tools'
    result = run(sys.executable, tools / 'train.py', CONFIG, '--work-dir', tmp_path,
                 '--cfg-options', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=5',
                 'train_dataloader.dataset.indices=4', MINI_ROOT=str(mini_root))
    assert (tmp_path / 'epoch_1.pth').is_file(), result.stdout
    result = run(sys.executable, '-m', 'mmdla', tools / 'test.py', CONFIG, tmp_path / 'epoch_1.pth',
                 '--work-dir', tmp_path, MINI_ROOT=str(mini_root))
    assert 'coco/bbox_mAP' in result.stdout


def test_slurm_tools_call_srun(tmp_path):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nfor a in "$@"; do echo "[$a]"; done\n')
    srun.chmod(0o755)
    env = dict(PATH=f'{tmp_path}:{os.environ["PATH"]}', GPUS='16', PYTHON='python')
    called = run('bash', 'tools/slurm_train.sh', 'part', 'job', CONFIG, '--cfg-options', 'a=b c',
                 **env).stdout
    for part in ('[--partition=part]', '[--job-name=job]', '[--ntasks=16]', '[--gres=gpu:8]',
                 f'[tools/train.py]\n[{CONFIG}]\n[--cfg-options]\n[a=b c]\n[--launcher]\n[slurm]'):
        assert part in called
    called = run('bash', 'tools/slurm_test.sh', 'part', 'job', CONFIG, 'x.pth', **env).stdout
    assert f'[tools/test.py]\n[{CONFIG}]\n[x.pth]\n[--launcher]\n[slurm]' in called


CLASSIFIER = '''
custom_imports = dict(imports=['mmdla'])
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(num_classes=2, mean=[128] * 3, std=[64] * 3),
    backbone=dict(type='mmdla.DLAResNet', depth=18, base_channels=32, stem_channels=32,
                  norm_eval=True, context_unit=dict(type='DSU', reduction=4)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=256,
              loss=dict(type='CrossEntropyLoss'), topk=(1, )))
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root={root!r}, with_label=True, pipeline=pipeline))
test_dataloader = {{**train_dataloader, 'sampler': dict(type='DefaultSampler', shuffle=False)}}
test_evaluator = dict(type='Accuracy', topk=(1, ))
test_cfg = dict()
train_cfg = dict(by_epoch=True, max_epochs=2)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
auto_scale_lr = dict(base_batch_size=4)
randomness = dict(seed=0)
default_hooks = dict(visualization=dict(type='VisualizationHook', enable=False))
visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
'''


@pytest.fixture(scope='module')
def classifier(tmp_path_factory):
    """A config of an mmpretrain classifier and eight images for it."""
    root = tmp_path_factory.mktemp('images')
    rng = np.random.default_rng(0)
    for i in range(8):
        path = root / 'set' / 'ab'[i % 2] / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 255, (64, 48, 3), np.uint8))
    config = root / 'classifier.py'
    config.write_text(CLASSIFIER.format(root=str(root / 'set')))
    return config


@pytest.mark.full
def test_two_processes_train_as_one_of_the_same_total_batch(classifier, tmp_path):
    one = run('bash', 'tools/dist_train.sh', classifier, 1, '--work-dir', tmp_path / 'one')
    two = run('bash', 'tools/dist_train.sh', classifier, 2, '--work-dir', tmp_path / 'two',
              '--cfg-options', 'train_dataloader.batch_size=2')
    assert 'note: the learning rate' not in one.stdout + two.stdout
    states = [torch.load(tmp_path / name / 'epoch_2.pth', weights_only=False)['state_dict']
              for name in ('one', 'two')]
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-4, atol=1e-6, msg=name)
    changed = torch.load(tmp_path / 'one' / 'epoch_1.pth', weights_only=False)['state_dict']
    assert any(not torch.equal(changed[k], v) for k, v in states[0].items())
    result = run('bash', 'tools/dist_test.sh', classifier, tmp_path / 'two' / 'epoch_2.pth', 2,
                 '--work-dir', tmp_path / 'test', '--show-dir', tmp_path / 'drawn')
    assert 'accuracy/top1' in result.stdout
    assert list((tmp_path / 'drawn').rglob('*.png'))


def test_learning_rate_note_and_scaling(call, classifier, tmp_path):
    logging.disable(logging.NOTSET)
    args = ('train.py', classifier, '--cfg-options', 'train_dataloader.batch_size=2',
            'train_cfg.max_epochs=1', '--work-dir')
    said = call(*args, tmp_path / 'one').stdout
    assert 'meant for a total batch of 4, this run has 2' in said
    scaled = call(*args, tmp_path / 'two', '--auto-scale-lr')
    assert 'note: the learning rate' not in scaled.stdout
    assert 'LR is set based on batch size of 4' in scaled.stdout + scaled.stderr
