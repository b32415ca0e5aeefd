import runpy
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import make_mini_shapes
import pytest

ROOT = Path(__file__).parents[2]
DET, CLS = 'configs/mini/faster_rcnn_dla_l18_mini.py', 'configs/mini/dla_l18_mini_shapes.py'
FEW = ('--cfg-options train_dataloader.dataset.indices=4 val_dataloader.dataset.indices=4 '
       'test_dataloader.dataset.indices=4 train_cfg.max_epochs=1 train_cfg.val_interval=1 '
       'train_dataloader.num_workers=0 val_dataloader.num_workers=0 test_dataloader.num_workers=0 '
       'train_dataloader.persistent_workers=False val_dataloader.persistent_workers=False '
       'test_dataloader.persistent_workers=False')


def run(tool, *args):
    """Run a tool in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [tool, *map(str, args)])
        runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')


@pytest.fixture(scope='session')
def shared_inputs(mini_root, tmp_path_factory):
    """Data, a detector's and a classifier's whole checkpoint, and the names of both configs."""
    root = tmp_path_factory.mktemp('robustness')
    for split, count in (('train', 10), ('val', 10)):
        make_mini_shapes.make_split(root / 'shapes' / split, count, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setenv('MINI_ROOT', str(mini_root))
        patch.setenv('MINI_SHAPES_ROOT', str(root / 'shapes'))
        for name, config in (('det', DET), ('cls', CLS)):
            run('train.py', config, '--work-dir', root / name, *shlex.split(FEW), 'val_cfg=None',
                'val_dataloader=None', 'val_evaluator=None')
    return dict(
        ROOT=ROOT, DET=DET, CLS=CLS, FEW=FEW, MINI_ROOT=mini_root, SHAPES_ROOT=root / 'shapes',
        DET_CKPT=root / 'det' / 'epoch_1.pth', CLS_CKPT=root / 'cls' / 'epoch_1.pth',
        IMAGE=mini_root / 'val2017' / '000000000001.png')


@pytest.fixture
def inputs(shared_inputs, tmp_path):
    return SimpleNamespace(**shared_inputs, SCRATCH=tmp_path)


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch, shared_inputs):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv('MINI_ROOT', str(shared_inputs['MINI_ROOT']))
    monkeypatch.setenv('MINI_SHAPES_ROOT', str(shared_inputs['SHAPES_ROOT']))
