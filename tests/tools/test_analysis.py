"""Tools of tools/analysis that need no trained model."""
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def call(tool, *args):
    return subprocess.run([sys.executable, ROOT / 'tools' / 'analysis' / tool, *map(str, args)],
                          capture_output=True, text=True, cwd=ROOT)


def test_base_forms_save_at_most_2_4_times_the_plain_resnets_activations():
    names = [f'configs/cifar/{name}_b128_cifar100.py'
             for name in ('resnet110', 'mrla_b110', 'dla_b110', 'dla_b110_released')]
    done = call('saved_activations.py', *names, '--batch', 2)
    assert done.returncode == 0, done.stderr
    ratios = {line.split()[-1]: float(line.split()[1]) for line in done.stdout.splitlines()[1:]}
    assert list(ratios) == names and ratios[names[0]] == 1
    assert all(1.5 < ratios[name] <= 2.4 for name in names[1:])


def test_saved_activations_of_a_missing_config():
    done = call('saved_activations.py', 'configs/nowhere.py')
    assert done.returncode == 1
    assert re.fullmatch(r'error: config configs/nowhere.py cannot be read .*\n', done.stderr)


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


def test_plot_curves(work_dir, tmp_path):
    picture, numbers = tmp_path / 'curves.png', tmp_path / 'curves.json'
    done = call('plot_curves.py', f'DLA-L={work_dir}', '--out', picture, '--json', numbers)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ['| epoch | DLA-L |', '| --- | --- |', '| 1 | 10 |', '| 2 | 30 |']
    run = json.loads(numbers.read_text())['DLA-L']
    assert run['train'] == [[0.5, 3.0], [1.0, 2.9], [1.5, 2.0], [2.0, 1.9]]
    assert picture.stat().st_size > 1000


@pytest.mark.parametrize('run, words', [('a=nowhere', 'has no'), ('nowhere', 'is no NAME=WORK_DIR')])
def test_plot_curves_of_no_run(run, words, tmp_path):
    done = call('plot_curves.py', run, '--out', tmp_path / 'x.png')
    assert done.returncode == 1 and words in done.stderr and not (tmp_path / 'x.png').exists()
