"""tools/test.py --show-dir: every image its picture, or a sentence."""
import os
import shutil
import subprocess
import sys

import pytest

from mmdla.engine.draw_hook import common_folder

LIMITED = '''import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
'''


def test_the_folder_of_images_with_one_name():
    assert common_folder(['/a/x.png', '/a/y.png', '/b/z.png']) == ''
    assert common_folder(['/d/a/x.png', '/d/b/x.png', '/d/b/y.png']) == '/d'
    assert common_folder([]) == ''


@pytest.fixture
def same_names(inputs, monkeypatch):
    """A validation set in which every class has one image, of the same name."""
    root = inputs.SCRATCH / 'shapes'
    shutil.copytree(inputs.SHAPES_ROOT, root)
    for folder in (root / 'val').iterdir():
        first, *rest = sorted(folder.iterdir())
        first.rename(folder / 'x.png')
        for path in rest:
            path.unlink()
    monkeypatch.setenv('MINI_SHAPES_ROOT', str(root))


def test_images_of_one_name_are_drawn_each(inputs, same_names, call):
    done = call('test.py', inputs.CLS, inputs.CLS_CKPT, '--work-dir', inputs.SCRATCH / 'w', '--show-dir',
                inputs.SCRATCH / 'drawn')
    assert done.returncode == 0, done.stderr
    drawn = [path.parent.name for path in (inputs.SCRATCH / 'drawn').rglob('*.png')]
    assert sorted(drawn) == ['box', 'cross', 'disk', 'star', 'triangle']


@pytest.mark.full
@pytest.mark.parametrize('tool, arguments', [
    # FEW has no worker processes: the limit is on the memory that they share, too
    ('test.py', '--show-dir {SCRATCH}/drawn --work-dir {SCRATCH}/w {FEW}'),
    ('inference.py', '{IMAGE} --out-dir {SCRATCH}/out')])
def test_a_full_disk_is_said(inputs, tool, arguments):
    done = subprocess.run(
        [sys.executable, '-c', LIMITED, f'tools/{tool}', inputs.DET, inputs.DET_CKPT,
         *arguments.format(**vars(inputs)).split()],
        text=True, capture_output=True, timeout=300, env={**os.environ, 'PYTHONPATH': str(inputs.ROOT)})
    assert done.returncode == 1 and 'wrote' not in done.stdout
    assert 'cannot be written (File too large)' in done.stderr.strip().splitlines()[-1], done.stderr
    assert 'Traceback (most recent call last)' not in done.stderr
