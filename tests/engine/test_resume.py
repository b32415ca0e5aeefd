"""Which checkpoint a run goes on from, and what is said of it."""
import os
import shutil

import pytest
import torch
from engine.toy_run import run
from mmengine.config import Config

from mmdla.engine.resume import (
    candidates,
    check_resumable,
    differences,
    is_finished,
    newest_checkpoint,
    way_on,
)
from mmdla.engine.runner import Runner
from mmdla.errors import UserError
from mmdla.hosts import checkpoints


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp('run')
    run(Runner, folder, interval=1)
    return folder


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of a whole run's folder, moved, with all files of one time."""
    shutil.copytree(trained, tmp_path / 'moved')
    for path in (tmp_path / 'moved').glob('*.pth'):
        os.utime(path, (0, 0))
    return tmp_path / 'moved'


def epochs(paths):
    return [os.path.basename(path) for path in paths]


@pytest.mark.parametrize('last', [None, '', '/gone/epoch_9.pth', 'epoch_1.pth'])
def test_the_newest_whatever_last_checkpoint_says(folder, last):
    if last is None:
        (folder / 'last_checkpoint').unlink()
    else:
        (folder / 'last_checkpoint').write_text(last)
    path, reasons = newest_checkpoint(str(folder))
    assert path == str(folder / 'epoch_4.pth') and not reasons
    assert epochs(candidates(str(folder))[0]) == [f'epoch_{i}.pth' for i in (4, 3, 2, 1)]


def test_the_newest_is_that_which_was_written_last(folder):
    """An earlier run in the folder may have had more epochs."""
    for epoch in (1, 2):
        path = folder / f'epoch_{epoch}.pth'
        checkpoint = torch.load(path, weights_only=False)
        checkpoint['meta']['time'] = '20991231_235959'
        torch.save(checkpoint, path)
    assert epochs(candidates(str(folder))[0]) == [f'epoch_{i}.pth' for i in (2, 1, 4, 3)]


def test_a_broken_one_is_left_out_and_said(folder):
    data = (folder / 'epoch_4.pth').read_bytes()
    (folder / 'epoch_4.pth').write_bytes(data[:len(data) // 2])
    path, reasons = newest_checkpoint(str(folder))
    assert path == str(folder / 'epoch_3.pth')
    assert reasons == [f'{folder / "epoch_4.pth"} is no whole checkpoint of a run and is left out']
    assert way_on(str(folder)) == f'--resume goes on from {path}'


def test_a_diverged_one_is_left_out_and_said(folder):
    checkpoint = torch.load(folder / 'epoch_4.pth', weights_only=False)
    checkpoint['state_dict']['weight'][0] = float('inf')
    torch.save(checkpoint, folder / 'epoch_4.pth')
    path, (reason, ) = newest_checkpoint(str(folder))
    assert path == str(folder / 'epoch_3.pth') and 'epoch_4.pth is of a run that diverged' in reason


def test_weights_of_the_best_epoch_are_not_resumed(folder):
    shutil.copy(folder / 'epoch_4.pth', folder / 'best_score_epoch_9.pth')
    assert epochs(newest_checkpoint(str(folder))[:1]) == ['epoch_4.pth']


def test_an_empty_folder(tmp_path):
    assert newest_checkpoint(str(tmp_path)) == (None, [])
    assert newest_checkpoint(str(tmp_path / 'none')) == (None, [])
    assert way_on(str(tmp_path)) == 'no checkpoint had been written yet'


def test_broken_ones_only(folder):
    for path in folder.glob('*.pth'):
        path.write_bytes(b'')
    with pytest.raises(UserError, match='no whole checkpoint to go on from, 4 broken ones'):
        newest_checkpoint(str(folder))


def test_what_of_a_config_does_not_act_is_said(trained):
    name = str(trained / 'epoch_4.pth')
    checkpoint = checkpoints.load(name)
    check_resumable(checkpoint, name)

    def said(length=3, **changes):
        cfg = Config.fromstring(checkpoint['meta']['cfg'], '.py')
        cfg.merge_from_dict(changes)
        return differences(cfg, checkpoint, name, length)

    assert said() == []
    assert ['had 3 iterations in an epoch' in text for text in said(length=6)] == [True]
    assert ['is of a run of 4 epochs, and this one has 8' in text
            for text in said(**{'train_cfg.max_epochs': 8})] == [True]
    assert ['the optimizer settings' in text
            for text in said(**{'optim_wrapper.optimizer.lr': 1.0})] == [True]
    with pytest.raises(UserError, match='schedules MultiStepLR and this config has LinearLR'):
        said(param_scheduler=dict(_delete_=True, type='LinearLR'))
    del checkpoint['optimizer']
    assert ['has no state of the optimizer' in text for text in said()] == [True]


def test_a_finished_run(trained):
    checkpoint = checkpoints.load(str(trained / 'epoch_4.pth'))
    assert is_finished(Config(dict(train_cfg=dict(max_epochs=4))), checkpoint)
    assert not is_finished(Config(dict(train_cfg=dict(max_epochs=5))), checkpoint)
    assert is_finished(Config(dict(train_cfg=dict(max_iters=12))), checkpoint)
    assert not is_finished(Config(dict(train_cfg=dict(max_iters=13))), checkpoint)
