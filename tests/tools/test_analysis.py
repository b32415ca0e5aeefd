"""Tools of tools/analysis that need no trained model."""
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


def test_base_forms_save_at_most_2_4_times_the_plain_resnets_activations(call):
    names = [f'configs/cifar/{name}_b128_cifar100.py'
             for name in ('resnet110', 'mrla_b110', 'dla_b110', 'dla_b110_split-r4-tokens')]
    done = call('analysis/saved_activations.py', *names, '--batch', 2)
    assert done.returncode == 0, done.stderr
    ratios = {line.split()[-1]: float(line.split()[1]) for line in done.stdout.splitlines()[1:]}
    assert list(ratios) == names and ratios[names[0]] == 1
    assert all(1.5 < ratios[name] <= 2.4 for name in names[1:])


def test_saved_activations_of_a_missing_config():
    """In a process of its own: one sentence and no traceback."""
    done = subprocess.run(
        [sys.executable, ROOT / 'tools/analysis/saved_activations.py', 'configs/nowhere.py'],
        capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(r'error: config configs/nowhere.py does not exist: .*\n', done.stderr)


@pytest.fixture
def work_dir(tmp_path):
    """A run of two epochs that was resumed after the first."""
    for start, (epoch, accuracy) in (('1', (1, 10.0)), ('2', (2, 30.0))):
        folder = tmp_path / 'run' / start / 'vis_data'
        folder.mkdir(parents=True)
        lines = [dict(loss=4.0 - epoch - i / 10, epoch=epoch, iter=step, step=step)
                 for i, step in enumerate((10 * epoch - 5, 10 * epoch))]
        lines.append({'accuracy/top1': accuracy, 'step': epoch})
        (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)))
    return tmp_path / 'run'


def test_plot_curves(call, work_dir, tmp_path):
    picture, numbers = tmp_path / 'curves.png', tmp_path / 'curves.json'
    done = call('analysis/plot_curves.py', f'DLA-L={work_dir}', '--out', picture, '--json', numbers)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ['| epoch | DLA-L |', '| --- | --- |', '| 1 | 10 |', '| 2 | 30 |']
    run = json.loads(numbers.read_text())['DLA-L']
    assert run['train'] == [[0.5, 3.0], [1.0, 2.9], [1.5, 2.0], [2.0, 1.9]]
    assert picture.stat().st_size > 1000


@pytest.mark.parametrize('run, words', [('a=nowhere', 'has no'), ('nowhere', 'is no NAME=WORK_DIR')])
def test_plot_curves_of_no_run(call, run, words, tmp_path):
    done = call('analysis/plot_curves.py', run, '--out', tmp_path / 'x.png')
    assert done.returncode == 1 and words in done.stderr and not (tmp_path / 'x.png').exists()


def test_benchmark_and_its_pictures(call, tmp_path):
    for task, mode, models in (('classification', 'both', ['dla_l18', 'mrla_b18']),
                               ('cifar', 'train', ['dla_b20', 'dla_b29'])):
        done = call('analysis/benchmark.py', '--task', task, '--mode', mode, '--models', *models,
                    '--shape', 32, 32, '--batch', 2, '--rounds', 2, '--json', tmp_path / f'{task}.json')
        assert done.returncode == 0, done.stderr
        assert 'resnet' in done.stdout and models[0] in done.stdout
    files = [tmp_path / f'{task}.json' for task in ('classification', 'cifar')]
    (classification, ), (cifar, ) = (json.loads(file.read_text()) for file in files)
    assert [(row['mode'], row['model']) for row in classification['rows']] == [
        (mode, model) for mode in ('eval', 'train') for model in ('resnet18', 'dla_l18', 'mrla_b18')]
    assert classification['rows'][0]['ratio'] == 1 and classification['rows'][0]['memory_mib'] is None
    assert all(row['memory_ratio'] >= 1 for row in cifar['rows'])
    for number, args in enumerate((files, [files[1], '--against', 'depth'],
                                   [files[1], '--against', 'pixels'])):
        picture = tmp_path / f'{number}.png'
        done = call('analysis/plot_benchmark.py', *args, '--out', picture)
        assert done.returncode == 0 and picture.stat().st_size > 5000, done.stderr
    done = call('analysis/plot_benchmark.py', *files, '--out', picture, '--against', 'depth')
    assert done.returncode == 1 and 'several tasks' in done.stderr


@pytest.mark.parametrize('args, words', [
    (['--models', 'vgg16'], "error: model 'vgg16' is not known"),
    (['--models', 'dla_l77', '--rounds', '1'], 'error: depth must be one of'),
    (['--rounds', '0'], 'must be 1 or more'),
    pytest.param(['--device', 'cuda'], 'sees no CUDA device', marks=pytest.mark.skipif(
        torch.cuda.is_available(), reason='there is a CUDA device')),
])
def test_benchmark_refuses(call, args, words):
    done = call('analysis/benchmark.py', *args, '--shape', '32', '32')
    assert done.returncode != 0 and words in done.stderr
