"""tools/evidence.py: many runs, skipped, resumed, recorded; and the page of their records."""
import fcntl
import json
import os
import pickle
import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from mmdla.engine.evidence import by_config, curves, read_record, read_records
from mmdla.errors import UserError

ROOT = Path(__file__).parents[2]
SHORT = ROOT / 'configs' / 'cifar' / 'short'
PLAIN, DLA = SHORT / 'resnet20_15e_cifar100.py', SHORT / 'dla_l20_15e_cifar100.py'
ONE = ('--cfg-options', 'train_cfg.max_epochs=1')
OTHER = (*ONE, 'optim_wrapper.optimizer.lr=1')


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
    return ['--work-dir', str(folder / 'runs'), '--out', str(folder / 'out'), *map(str, more)]


def record(folder, config, seed=0):
    return read_record(folder / 'out' / f'{config.stem}_seed{seed}.json')


def test_runs_are_recorded_and_not_repeated(folder, call):
    done = call('evidence.py', PLAIN, *arguments(folder, '--seeds', 0, 1, 0, *ONE))
    assert done.returncode == 0, done.stderr
    assert 'resnet20_15e_cifar100 seed 1: epoch 1 of 1, top-1' in done.stdout
    assert '2 of 2 runs finished' in done.stdout
    first, second = record(folder, PLAIN), record(folder, PLAIN, 1)
    assert first.status == second.status == 'finished' and second.seed == 1
    assert second.config == 'configs/cifar/short/resnet20_15e_cifar100.py'
    [[epoch, top1]], [[_, loss]] = second.val, second.loss
    assert epoch == 1 and top1 == second.result and 3 < loss < 8 and second.seconds_per_epoch > 0
    assert loss != first.loss[0][1]
    attempt, = second.attempts
    assert attempt['end'] == 'finished' and attempt['device'] and attempt['torch'] == torch.__version__

    again = call('evidence.py', PLAIN, DLA, *arguments(folder, '--seeds', 0, 1, '--list', *ONE))
    assert again.returncode == 0 and again.stdout.splitlines()[-1] == '2 of 4 runs are finished.'
    assert 'resnet20_15e_cifar100 seed 0: epoch 1 of 1, top-1' in again.stdout
    assert 'dla_l20_15e_cifar100 seed 0: not started' in again.stdout

    assert re.search(r'^resnet20_15e_cifar100: \d+\.\d\d ± \d+\.\d\d, 2 seeds$', again.stdout, re.M)

    other = call('evidence.py', PLAIN, *arguments(folder, '--seeds', 0, *OTHER))
    assert other.returncode == 1 and 'is of a run of 1 epochs with' in other.stderr
    other = call('evidence.py', PLAIN, *arguments(folder, '--seeds', 0, *OTHER), '--out', folder / 'new')
    assert other.returncode == 1 and 'runs/resnet20_15e_cifar100_seed0 holds a run that' in other.stderr


def test_broken_attempts_stay_in_the_record(folder, call):
    arrays = folder / 'cifar-100-python' / 'train'
    whole = arrays.read_bytes()
    content = pickle.loads(whole)
    arrays.write_bytes(pickle.dumps(dict(content, fine_labels=list(range(90, 110)))))
    done = call('evidence.py', DLA, *arguments(folder, '--seeds', 0, *ONE))
    assert done.returncode == 1 and '1 of 1 runs broke off' in done.stderr
    assert record(folder, DLA).status == 'failed' and record(folder, DLA).val == []
    assert 'is no CIFAR-100 file' in record(folder, DLA).attempts[0]['error']
    arrays.write_bytes(whole)
    done = call('evidence.py', DLA, *arguments(folder, '--seeds', 0, *ONE))
    assert done.returncode == 0, done.stderr
    assert [attempt['end'] for attempt in record(folder, DLA).attempts] == ['failed', 'finished']


def test_a_record_without_its_files_begins_anew(folder, call):
    (folder / 'out').mkdir()
    write(folder / 'out', PLAIN.stem, 0, 'stopped', 90.0, epochs=1, options=[ONE[1]])
    done = call('evidence.py', PLAIN, *arguments(folder, '--seeds', 0, *ONE))
    assert done.returncode == 0, done.stderr
    entry = record(folder, PLAIN)
    assert [attempt['end'] for attempt in entry.attempts] == ['files lost', 'finished']
    assert entry.result < 90


def test_a_run_of_another_process_is_left_to_it(folder, call):
    log = folder / 'runs' / f'{PLAIN.stem}_seed0.log'
    log.parent.mkdir()
    with open(log, 'a') as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = call('evidence.py', PLAIN, *arguments(folder, '--seeds', 0, *ONE))
    assert done.returncode == 0 and 'another process is at it' in done.stdout
    assert not (folder / 'out' / f'{PLAIN.stem}_seed0.json').exists()


@pytest.mark.full
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGKILL])
def test_goes_on_where_it_was_stopped(number, folder):
    command = [sys.executable, 'tools/evidence.py', PLAIN, *arguments(
        folder, '--seeds', 0, '--cfg-options', 'train_cfg.max_epochs=12',
        'default_hooks.logger.interval=1')]
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    first = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    path = folder / 'out' / f'{PLAIN.stem}_seed0.json'
    try:
        for _ in range(600):
            if path.exists() and read_record(path).val:
                break
            time.sleep(0.1)
        first.send_signal(number)
        first.wait(60)
    finally:
        first.kill()
    if number == signal.SIGINT:
        assert read_record(path).status == 'stopped' and 0 < read_record(path).epoch < 12
    for _ in range(100):  # the training of a killed one goes on and ends by itself
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True,
                              timeout=300)
        if 'left to that' not in done.stdout:
            break
        time.sleep(1)
    assert done.returncode == 0, done.stderr
    entry = read_record(path)
    assert entry.status == 'finished' and len(entry.attempts) == 2
    assert [epoch for epoch, _ in entry.val] == list(range(1, 13)) == [e for e, _ in entry.loss]


@pytest.fixture
def tool():
    return runpy.run_path(str(ROOT / 'tools' / 'evidence.py'))


@pytest.mark.parametrize('interval, epochs, validated, saved, kept', [
    (1, 5, 2, (2, 3), {2}), (1, 5, 0, (1, ), set()), (1, 5, 5, (4, 5), {4, 5}),
    (2, 20, 18, (18, 19, 20), {18, 19}), (2, 20, 2, (3, 4), {3}), (3, 20, 18, (18, 19, 20), {18, 19})])
def test_checkpoints_to_go_on_from(interval, epochs, validated, saved, kept, tool, tmp_path):
    scalars = tmp_path / 'run' / '1' / 'vis_data' / 'scalars.json'
    scalars.parent.mkdir(parents=True)
    lines = [{'step': epoch, 'accuracy/top1': 1.0} for epoch in range(interval, validated + 1, interval)]
    scalars.write_text('\n'.join(map(json.dumps, lines)))
    for epoch in saved:
        (tmp_path / 'run' / f'epoch_{epoch}.pth').touch()
    run = tool['Run'](PLAIN, 0, epochs, interval, (), tmp_path / 'run', tmp_path / 'x.json')
    run.forget_unvalidated()
    assert {int(path.stem[6:]) for path in (tmp_path / 'run').glob('*.pth')} == kept


@pytest.mark.parametrize('visible, count, expected', [
    (None, 0, [None] * 3), ('7', 1, ['7'] * 3), (None, 2, ['0', '1', '0']),
    ('2,GPU-x', 2, ['2', 'GPU-x', '2'])])
def test_gpus_are_those_that_are_visible(visible, count, expected, tool, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: count)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if visible:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    places = tool['environments'](3, 8)
    assert [place.get('CUDA_VISIBLE_DEVICES') for place in places] == expected
    assert {place['OMP_NUM_THREADS'] for place in places} == {'2'}
    assert ('MALLOC_TRIM_THRESHOLD_' in places[0]) == (count == 0)


def test_what_a_restart_repeats_counts_once(tmp_path):
    for number, loss in (('1', float('nan')), ('2', 2.0)):
        path = tmp_path / number / 'vis_data' / 'scalars.json'
        path.parent.mkdir(parents=True)
        lines = [dict(step=9, epoch=1, loss=loss, time=0.5), {'step': 1, 'accuracy/top1': loss}]
        path.write_text('\n'.join(map(json.dumps, lines)))
    assert curves(tmp_path) == dict(
        metric='accuracy/top1', val=[[1, 2.0]], loss=[[1, 2.0]], seconds_per_epoch=4.5)


@pytest.mark.parametrize('options, text', [
    (['absent.py'], 'absent.py does not exist'), ([PLAIN, PLAIN], 'have the same name'),
    ([PLAIN, '--jobs', '0'], '--jobs 0 is no number of runs'),
    ([PLAIN, '--full'], 'give configs or --full'),
    ([PLAIN, '--cfg-options', 'train_cfg.max_epochs=None'], 'max_epochs')])
def test_wrong_arguments(options, text, folder, call):
    done = call('evidence.py', *options, '--list', '--out', folder / 'out')
    assert done.returncode == 1 and text in done.stderr, done.stderr


def test_every_run_of_the_full_recipe_is_known(folder, call):
    done = call('evidence.py', *arguments(folder, '--full', '--list'))
    assert '0 of 50 runs are finished.' in done.stdout
    assert done.stdout.startswith('resnet20_b128_cifar100 seed 0: not started')
    assert 'dla_l20_split-r4_b128_cifar100 seed 4' in done.stdout


def test_a_config_of_the_package_by_name(folder, call):
    config = f'mmdla::cifar/short/{PLAIN.name}'
    done = call('evidence.py', config, *arguments(folder, '--seeds', 3, *ONE))
    assert done.returncode == 0, done.stderr
    assert record(folder, PLAIN, 3).config == 'configs/cifar/short/resnet20_15e_cifar100.py'


def test_the_page_is_what_the_records_say(call):
    done = call('analysis/evidence_page.py', '--check')
    assert done.returncode == 0, done.stderr


@pytest.fixture
def page():
    return runpy.run_path(str(ROOT / 'tools' / 'analysis' / 'evidence_page.py'))


def write(folder, name, seed, status, *top1, **other):
    """A record of a run of the short recipe."""
    path = folder / f'{name}_seed{seed}.json'
    path.write_text(json.dumps({**dict(
        config=f'configs/cifar/short/{name}.py', seed=seed, status=status, epochs=2, options=[],
        attempts=[dict(device='CPU', end=status)], metric='accuracy/top1' if top1 else None,
        val=[[i, value] for i, value in enumerate(top1, 1)], loss=[[1, 3.0], [2, 2.5]],
        seconds_per_epoch=100.4), **other}))
    return path


def test_tables_of_finished_runs(page, tmp_path):
    write(tmp_path, 'dla_l20_15e_cifar100', 10, 'finished', 30.0, 22.5)
    write(tmp_path, 'dla_l20_15e_cifar100', 2, 'finished', 10.0, 21.5)
    write(tmp_path, 'dla_l20_15e_cifar100', 3, 'stopped', 90.0)
    lost = [dict(device='CPU'), dict(device='CPU', end='failed', error='a | b')]
    write(tmp_path, 'se-r20_15e_cifar100', 0, 'failed', attempts=lost)
    write(tmp_path, 'resnet20_15e_cifar100', 0, 'finished', 50.0, 19.25)
    write(tmp_path, 'other', 0, 'finished', 50.0, 20.25)
    records = read_records(tmp_path)
    groups = page['groups_of'](records)
    assert [system.name for system in groups['_15e_cifar100']] == ['ResNet-20', 'DLA-L-20', 'SE-20']
    text = page['render'](records, [])
    assert ('| [DLA-L-20](../configs/cifar/short/dla_l20_15e_cifar100.py) | 367,208 | 22.00 ± 0.71 | '
            '2 | 21.50, 22.50 | +2.75 | 100 s, CPU | 72.26 (split-r4) |') in text
    assert '| 243,508 | 19.25 | 1 | 19.25 |  | 100 s, CPU | 67.30 |' in text
    assert '| 265,012 |  | 0 |  |  |  |' in text
    assert '| dla_l20_15e_cifar100 | 3 | epoch 1 of 2, top-1 90.00, stopped |  |' in text
    assert '| se-r20_15e_cifar100 | 0 | epoch 0 of 2, failed: a / b | lost |' in text
    assert '| other | 0 | epoch 2 of 2, top-1 20.25, finished |  |' in text


def test_the_papers_figures_are_of_their_configs(page):
    papers = page['printed']()
    assert papers['dla_l20_split-r4_cifar100'] == '72.26' and 'dla_l20_cifar100' not in papers
    assert papers['resnet20_cifar10'] == '91.64'
    # of the equations the paper prints nothing
    assert page['paper']('dla_l20', 'cifar100', papers) == '72.26 (split-r4)'
    assert page['paper']('dla_l20_split-r4', 'cifar100', papers) == '72.26'
    assert page['paper']('resnet20', 'cifar10', papers) == '91.64'
    assert page['paper']('resnet2', 'cifar10', papers) == ''


def test_a_gain_is_over_the_plain_network(page, tmp_path):
    assert page['gain']([3.0], [1.0, 2.0]) == '+1.50' and page['gain']([], [1.0]) == ''
    # variances 2 and 8, two seeds each
    assert page['gain']([1.0, 3.0], [10.0, 14.0]) == '-10.00 ± 2.24'
    for depth, value in ((20, 50.0), (56, 60.0)):
        write(tmp_path, f'resnet{depth}_15e_cifar100', 0, 'finished', value)
        write(tmp_path, f'dla_l{depth}_15e_cifar100', 0, 'finished', value + depth)
    text = page['render'](read_records(tmp_path), [])
    assert '| 70.00 | +20.00 |' in text and '| 116.00 | +56.00 |' in text


def test_names_of_systems(page):
    for stem, name in (('resnet20', 'ResNet-20'), ('mrla_b110', 'MRLA-B-110'), ('eca-r20', 'ECA-20'),
                       ('faster_rcnn_dla_l18', 'DLA-L-18'), ('dla_l20_split-r4', 'DLA-L-20 split-r4')):
        assert page['system_of'](f'configs/{stem}_15e_x.py', '_15e_x', []).name == name
    with pytest.raises(UserError, match='inception4 is no system'):
        page['system_of']('inception4.py', '_15e_x', [])


def test_figure(page, tmp_path):
    write(tmp_path, 'dla_l20_15e_cifar100', 0, 'finished', 10.0, 21.5)
    write(tmp_path, 'dla_l20_15e_cifar100', 1, 'finished', 12.0, 22.5)
    page['plot'].__globals__['picture'] = lambda end: tmp_path / f'x{end}.png'
    (end, systems), = page['groups_of'](read_records(tmp_path)).items()
    assert page['stale'](end, systems)
    page['plot'](end, systems)
    assert (tmp_path / 'x_15e_cifar100.png').stat().st_size > 5000
    assert not page['stale'](end, systems)
    write(tmp_path, 'dla_l20_15e_cifar100', 1, 'finished', 12.0, 22.6)
    (_, systems), = page['groups_of'](read_records(tmp_path)).items()
    assert page['stale'](end, systems)


def test_records_that_cannot_be(tmp_path):
    path = write(tmp_path, 'x', 0, 'finished')
    with pytest.raises(UserError, match=f'{path} is no record'):
        read_record(path)
    path.write_text('<<<<<<<')
    with pytest.raises(UserError, match=f'{path} is no record'):
        read_record(path)
    write(tmp_path, 'x', 0, 'finished', 1.0)
    write(tmp_path, 'x', 1, 'finished', 1.0, options=['a=1'])
    with pytest.raises(UserError, match='differ in epochs or options'):
        by_config(read_records(tmp_path))
