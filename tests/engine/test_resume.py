"""Which checkpoint a run goes on from, and what is said of it."""
import os
import shutil

import pytest
import torch
from engine.toy_run import run
from mmengine.config import Config

from mmdla.engine.resume import SAVED_AT, Saved, check_resumable, differences, is_finished
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
    path, reasons = Saved(str(folder)).newest()
    assert path == str(folder / 'epoch_4.pth') and not reasons
    assert epochs(Saved(str(folder)).newest_first()[0]) == [f'epoch_{i}.pth' for i in (4, 3, 2, 1)]


def test_the_newest_is_that_which_was_written_last(folder):
    """An earlier run in the folder may have had more epochs."""
    for epoch in (1, 2):
        path = folder / f'epoch_{epoch}.pth'
        checkpoint = torch.load(path, weights_only=False)
        checkpoint['meta'][SAVED_AT] = 4e9
        torch.save(checkpoint, path)
    assert epochs(Saved(str(folder)).newest_first()[0]) == [f'epoch_{i}.pth' for i in (2, 1, 4, 3)]


def test_a_broken_one_is_left_out_and_said(folder):
    data = (folder / 'epoch_4.pth').read_bytes()
    (folder / 'epoch_4.pth').write_bytes(data[:len(data) // 2])
    path, reasons = Saved(str(folder)).newest()
    assert path == str(folder / 'epoch_3.pth')
    assert len(reasons) == 1 and f'{folder / "epoch_4.pth"} cannot be read' in reasons[0]
    assert Saved(str(folder)).way_on() == f'--resume goes on from {path}'


def test_a_diverged_one_is_left_out_and_said(folder):
    checkpoint = torch.load(folder / 'epoch_4.pth', weights_only=False)
    checkpoint['state_dict']['weight'][0] = float('inf')
    torch.save(checkpoint, folder / 'epoch_4.pth')
    path, (reason, ) = Saved(str(folder)).newest()
    assert path == str(folder / 'epoch_3.pth') and 'epoch_4.pth is of a run that diverged' in reason


def test_other_files_are_not_asked(folder):
    """The weights of the best epoch have no optimizer; an extracted backbone is no run's."""
    shutil.copy(folder / 'epoch_4.pth', folder / 'best_score_epoch_9.pth')
    torch.save(dict(state_dict={}), folder / 'backbone-12345678.pth')
    path, reasons = Saved(str(folder)).newest()
    assert path == str(folder / 'epoch_4.pth') and not reasons


def test_files_of_mmengine_and_of_old_torch(folder):
    """Without our time of saving the iteration decides."""
    for path in folder.glob('*.pth'):
        checkpoint = torch.load(path, weights_only=False)
        del checkpoint['meta'][SAVED_AT]
        torch.save(checkpoint, path, _use_new_zipfile_serialization=path.name != 'epoch_4.pth')
    assert epochs(Saved(str(folder)).newest_first()[0]) == [f'epoch_{i}.pth' for i in (4, 3, 2, 1)]


def test_the_hooks_folder_and_names(folder, tmp_path):
    (folder / 'epoch_2.pth').rename(folder / 'state_2.pt')
    hook = dict(checkpoint=dict(out_dir=str(tmp_path), filename_tmpl='state_{}.pt'))
    saved = Saved.of(Config(dict(default_hooks=hook)), 'work_dirs/moved/')
    assert saved.newest() == (str(folder / 'state_2.pt'), [])


@pytest.mark.parametrize('change', [
    dict(meta=dict(epoch='1', iter=3)), dict(meta=dict(epoch=1, iter=3, saved_at='x')),
    dict(message_hub=5), dict(meta=5), dict(meta=dict(epoch=1, iter=1, epoch_length='3'))])
def test_no_state_of_a_run(trained, change):
    checkpoint = {**checkpoints.load(str(trained / 'epoch_4.pth')), **change}
    with pytest.raises(UserError, match='no state of a run'):
        check_resumable(checkpoint, 'x.pth')


@pytest.mark.parametrize('change', [
    dict(message_hub={}), dict(optimizer=5), dict(param_schedulers=[5])])
def test_a_broken_state_of_a_run(trained, tmp_path, change):
    torch.save({**torch.load(trained / 'epoch_2.pth', weights_only=False), **change}, tmp_path / 'x.pth')
    with pytest.raises(UserError, match='x.pth cannot be resumed'):
        run(Runner, tmp_path, interval=1, resume=True, load_from=str(tmp_path / 'x.pth'))


def test_one_cycle_schedules_are_resumed(tmp_path):
    """Their state holds a function."""
    schedule = dict(schedule='OneCycleLR', interval=1)
    run(Runner, tmp_path, epochs=4, **schedule)
    path, reasons = Saved(str(tmp_path)).newest()
    assert path and not reasons
    (tmp_path / 'epoch_4.pth').unlink()
    run(Runner, tmp_path, epochs=4, resume=True, load_from=str(tmp_path / 'epoch_3.pth'), **schedule)


def test_an_empty_folder(tmp_path):
    assert Saved(str(tmp_path)).newest() == (None, [])
    assert Saved(str(tmp_path / 'none')).newest() == (None, [])
    assert Saved(str(tmp_path)).way_on() == 'no checkpoint had been written yet'


def test_broken_ones_only(folder):
    for path in folder.glob('*.pth'):
        path.write_bytes(b'')
    with pytest.raises(UserError, match='no checkpoint to go on from: checkpoint .* cannot be read'):
        Saved(str(folder)).newest()


def test_what_of_a_config_does_not_act_is_said(trained):
    name = str(trained / 'epoch_4.pth')
    checkpoint = checkpoints.load(name)
    check_resumable(checkpoint, name)

    def said(length=3, **changes):
        cfg = Config.fromstring(checkpoint['meta']['cfg'], '.py')
        cfg.merge_from_dict(changes)
        return differences(cfg, checkpoint, name, length)

    assert said() == []
    assert ['had 3 iterations in an epoch (its number' in text for text in said(length=6)] == [True]
    checkpoint['meta'].update(epoch=0, iter=2, epoch_length=6, processes=2)
    assert ['(2 processes shared it, and now 1)' in text for text in said(length=12)] == [True]
    assert said(length=6) == []
    checkpoint['meta'].update(epoch=4, iter=12, epoch_length=3, processes=1)
    assert ['is of a run of 4 epochs, and this one has 8' in text
            for text in said(**{'train_cfg.max_epochs': 8})] == [True]
    assert ['the optimizer settings' in text
            for text in said(**{'optim_wrapper.optimizer.lr': 1.0})] == [True]
    with pytest.raises(UserError, match='schedules MultiStepLR and this config has LinearLR'):
        said(param_scheduler=dict(_delete_=True, type='LinearLR'))
    del checkpoint['optimizer']
    assert ['has no state of the optimizer' in text for text in said()] == [True]


def test_nothing_false_is_said_of_a_run_by_iterations(trained):
    checkpoint = checkpoints.load(str(trained / 'epoch_4.pth'))
    checkpoint['meta'].update(cfg='train_cfg = dict(max_iters=20)\noptim_wrapper = 5', epoch=3, iter=10)
    cfg = Config(dict(train_cfg=dict(max_iters=20)))
    assert differences(cfg, checkpoint, 'x.pth', 6) == []
    checkpoint['meta'].update(processes=2)
    said, = differences(cfg, checkpoint, 'x.pth', 6)
    assert 'is of a run of 2 processes, and this one has 1' in said


def test_a_finished_run(trained):
    checkpoint = checkpoints.load(str(trained / 'epoch_4.pth'))
    assert is_finished(Config(dict(train_cfg=dict(max_epochs=4))), checkpoint)
    assert not is_finished(Config(dict(train_cfg=dict(max_epochs=5))), checkpoint)
    assert is_finished(Config(dict(train_cfg=dict(max_iters=12))), checkpoint)
    assert not is_finished(Config(dict(train_cfg=dict(max_iters=13))), checkpoint)
