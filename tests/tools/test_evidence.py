"""tools/evidence.py: many runs, skipped, resumed, recorded."""
import json
import os
import pickle
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mmdla.errors import UserError

ROOT = Path(__file__).parents[2]
SHORT = ROOT / 'configs' / 'cifar' / 'short'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A CIFAR-100 of 20 images."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 3072), dtype=np.uint8)
    for split in ('train', 'test'):
        path = tmp_path / 'cifar-100-python' / split
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pickle.dumps(dict(data=pixels, fine_labels=list(range(20)))))
    monkeypatch.setenv('CIFAR_ROOT', str(tmp_path))
    return tmp_path


def arguments(folder, *more):
    return ['--work-dir', str(folder / 'runs'), '--out', str(folder / 'out'), *more]


def record(folder, name, seed=0):
    return json.loads((folder / 'out' / f'{name}_15e_cifar100_seed{seed}.json').read_text())


def test_runs_are_recorded_and_not_repeated(folder, call):
    names = ('resnet20', 'dla_l20')
    configs = [str(SHORT / f'{name}_15e_cifar100.py') for name in names]
    one_epoch = ['--cfg-options', 'train_cfg.max_epochs=1']
    broken = ['--cfg-options', 'train_cfg.max_epochs=1', 'optim_wrapper.optimizer.lr=inf']

    done = call('evidence.py', configs[0], *arguments(folder, '--seeds', '0', '1', *one_epoch))
    assert done.returncode == 0, done.stderr
    assert 'resnet20_15e_cifar100 seed 1: epoch 1 of 1, top1' in done.stdout
    assert '2 of 2 runs finished' in done.stdout
    entry = record(folder, 'resnet20', 1)
    assert entry['status'] == 'finished' and entry['seed'] == 1 and entry['metric'] == 'accuracy/top1'
    assert entry['config'] == 'configs/cifar/short/resnet20_15e_cifar100.py'
    [[epoch, top1]], [[_, loss]] = entry['val'], entry['loss']
    assert epoch == 1 and 0 <= top1 <= 100 and 3 < loss < 8 and entry['seconds_per_epoch'] > 0
    assert loss != record(folder, 'resnet20', 0)['loss'][0][1]

    again = call('evidence.py', *configs, *arguments(folder, '--seeds', '0', '1', '--list', *one_epoch))
    assert again.returncode == 0 and again.stdout.splitlines()[-1] == '2 of 4 runs are finished.'
    assert 'finished resnet20_15e_cifar100 seed 0' in again.stdout
    assert 'left     dla_l20_15e_cifar100 seed 0' in again.stdout

    done = call('evidence.py', configs[1], *arguments(folder, '--seeds', '0', *broken))
    assert done.returncode == 1 and '1 of 1 runs broke off' in done.stderr
    entry = record(folder, 'dla_l20')
    assert entry['status'] == 'failed' and entry['error'].startswith('weights are not finite')
    other = call('evidence.py', configs[1], *arguments(folder, '--seeds', '0', *one_epoch))
    assert other.returncode == 1 and 'is of a run of 1 epochs with' in other.stderr


@pytest.mark.full
def test_goes_on_where_it_was_stopped(folder):
    command = [sys.executable, 'tools/evidence.py', str(SHORT / 'resnet20_15e_cifar100.py'), *arguments(
        folder, '--seeds', '0', '--cfg-options', 'train_cfg.max_epochs=12',
        'default_hooks.logger.interval=1')]
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    first = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    path = folder / 'out' / 'resnet20_15e_cifar100_seed0.json'
    try:
        for _ in range(600):
            if path.exists() and json.loads(path.read_text())['val']:
                break
            time.sleep(0.1)
        first.send_signal(signal.SIGINT)
        first.wait(60)
    finally:
        first.kill()
    entry = json.loads(path.read_text())
    assert entry['status'] == 'stopped' and 0 < len(entry['val']) < 12, first.stdout.read()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0, done.stderr
    assert 'going on from' in (folder / 'runs' / 'resnet20_15e_cifar100_seed0.log').read_text()
    entry = json.loads(path.read_text())
    assert entry['status'] == 'finished'
    assert [epoch for epoch, _ in entry['val']] == list(range(1, 13)) == [e for e, _ in entry['loss']]


def test_wrong_arguments(folder, call):
    for options, text in ((['absent.py'], 'absent.py does not exist'),
                          (['--cfg-options', 'max_epochs'], 'is no KEY=VALUE'),
                          ([str(SHORT / 'resnet20_15e_cifar100.py')] * 2, 'have the same name'),
                          ([str(ROOT / 'configs/faster_rcnn_dla_l50_1x_coco.py'), '--cfg-options',
                            'train_cfg.max_epochs=None'], 'max_epochs')):
        done = call('evidence.py', *options, '--list', '--out', str(folder / 'out'))
        assert done.returncode == 1 and text in done.stderr, done.stderr


def test_the_page_is_what_the_records_say(call):
    done = call('analysis/evidence_page.py', '--check')
    assert done.returncode == 0, done.stderr


@pytest.fixture
def page(monkeypatch):
    return runpy.run_path(str(ROOT / 'tools' / 'analysis' / 'evidence_page.py'))


def test_tables_of_finished_runs(page, tmp_path):
    def write(name, seed, status, *top1):
        (tmp_path / f'{name}_seed{seed}.json').write_text(json.dumps(dict(
            config=f'configs/cifar/short/{name}.py', seed=seed, status=status, epochs=2, metric='x',
            val=[[i, value] for i, value in enumerate(top1, 1)], loss=[[1, 3.0], [2, 2.5]],
            seconds_per_epoch=100.4, options=[])))

    write('dla_l20_15e_cifar100', 0, 'finished', 10.0, 21.5)
    write('dla_l20_15e_cifar100', 1, 'finished', 30.0, 22.5)
    write('dla_l20_15e_cifar100', 2, 'stopped', 90.0)
    write('se-r20_15e_cifar100', 0, 'failed')
    write('resnet20_15e_cifar100', 0, 'finished', 50.0, 20.25)
    groups = page['read_groups'](tmp_path)
    text = page['render'](groups)
    assert [system.name for system in groups['_15e_cifar100']] == ['ResNet-20', 'DLA-L-20', 'SE-20']
    assert ('| [DLA-L-20](../configs/cifar/short/dla_l20_15e_cifar100.py) | 367,208 | 22.00 ± 0.71 | '
            '2 | 21.50, 22.50 | 100 s | 72.26 |') in text
    assert '| 243,508 | 20.25 | 1 | 20.25 | 100 s | 67.30 |' in text
    assert '| 265,012 |  | 0 |  |  |  |' in text
    assert '| dla_l20_15e_cifar100 | 2 | stopped | 1 of 2 | top-1 90.00 |' in text
    assert '| se-r20_15e_cifar100 | 0 | failed | 0 of 2 |  |' in text


def test_names_of_systems(page):
    for stem, name in (('resnet20', 'ResNet-20'), ('mrla_b110', 'MRLA-B-110'), ('eca-r20', 'ECA-20'),
                       ('faster_rcnn_dla_l18', 'DLA-L-18')):
        assert page['system_name'](stem) == name
    with pytest.raises(UserError, match='inception4 is no system'):
        page['system_name']('inception4')
