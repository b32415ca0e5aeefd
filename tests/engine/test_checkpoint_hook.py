"""No checkpoint is lost, with mmengine's Runner as with ours."""
import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from engine.toy_run import Toy, images, run
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook as MMEngineHook
from mmengine.registry import METRICS
from mmengine.runner import Runner as MMEngineRunner
from torch.utils.data import DataLoader

from mmdla.engine.checkpoint_hook import CheckpointHook
from mmdla.engine.finite_loss_hook import FiniteLossHook
from mmdla.engine.runner import Runner
from mmdla.errors import RunError, UserError

RUNNERS = pytest.mark.parametrize('runner', [MMEngineRunner, Runner])


def names(folder):
    return sorted(path.name for path in Path(folder).glob('*.pth*'))


@RUNNERS
def test_the_newest_are_kept_and_the_old_removed_after_them(runner, tmp_path, monkeypatch):
    left = []
    replace = os.replace

    def watch(source, target):
        before = names(tmp_path)
        replace(source, target)
        if str(target).endswith('.pth'):
            left.append((before, names(tmp_path)))

    monkeypatch.setattr(os, 'replace', watch)
    run(runner, tmp_path, interval=1, max_keep_ckpts=1)
    assert names(tmp_path) == ['epoch_4.pth']
    for epoch, (before, after) in enumerate(left, 1):
        assert after == sorted({f'epoch_{epoch - 1}.pth', f'epoch_{epoch}.pth'} - {'epoch_0.pth'})
        assert any(name.endswith('.partial') for name in before)


@RUNNERS
def test_a_full_disk_leaves_the_last_whole_one(runner, tmp_path, monkeypatch):
    fsync = os.fsync

    def full(handle):
        if (tmp_path / 'epoch_2.pth').exists():
            raise OSError(errno.ENOSPC, 'No space left on device')
        fsync(handle)

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(RunError, match=r'epoch_3.pth cannot be written \(No space left on device\).*'
                       r'--resume goes on from .*epoch_2.pth\.$'):
        run(runner, tmp_path, interval=1, max_keep_ckpts=1)
    assert names(tmp_path) == ['epoch_2.pth']
    monkeypatch.undo()
    run(runner, tmp_path, interval=1, max_keep_ckpts=1, resume=True,
        load_from=str(tmp_path / 'epoch_2.pth'))
    assert names(tmp_path) == ['epoch_4.pth']


def test_a_disk_without_room_for_one_is_said_before_training(tmp_path, monkeypatch, capsys):
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage(0, 0, 10))
    with pytest.raises(UserError, match='0 MB left, and a checkpoint needs'):
        run(Runner, tmp_path, interval=1)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage(0, 0, 70))
    run(Runner, tmp_path, interval=1)
    assert 'note:' in capsys.readouterr().out
    assert names(tmp_path) == [f'epoch_{i}.pth' for i in range(1, 5)]


def test_checkpoints_of_other_names_are_gone_on_from(tmp_path):
    with pytest.raises(RunError, match='--resume goes on from .*state_2.pt[.]$'):
        run(Runner, tmp_path, model=Toy(bad=[8]), interval=1, filename_tmpl='state_{}.pt')


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    model = Toy(bad=[8])
    with pytest.raises(RunError, match='weights are not finite after iteration 9 .weight.*'
                       'goes on from .*epoch_2.pth'):
        run(Runner, tmp_path, model=model, interval=1)
    assert names(tmp_path) == ['epoch_1.pth', 'epoch_2.pth']


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path):
    with pytest.raises(RunError, match='not finite in 3 iterations in a row, up to iteration 6: .*'
                       'goes on from .*epoch_1.pth'):
        run(Runner, tmp_path, model=Toy(bad=[4, 5, 6]), interval=1)


def test_two_losses_that_are_not_finite_are_let_pass():
    hook, runner = FiniteLossHook(patience=3), SimpleNamespace(iter=5, work_dir='none')
    for loss in (float('nan'), float('inf'), 1.0) * 3:
        hook.after_train_iter(runner, 0, outputs=dict(loss=torch.tensor(loss)))


def test_one_name_for_all(tmp_path):
    run(Runner, tmp_path, interval=1, max_keep_ckpts=1, filename_tmpl='last.pth')
    assert names(tmp_path) == ['last.pth']


def test_another_folder(tmp_path):
    run(Runner, tmp_path / 'work', interval=1, out_dir=str(tmp_path / 'other'))
    assert len(names(tmp_path / 'other' / 'work')) == 4 and names(tmp_path / 'work') == []


@pytest.mark.parametrize('hook', [
    dict(type='CheckpointHook'), dict(type='mmengine.CheckpointHook'), dict(type=MMEngineHook)])
def test_mmengines_hook_is_replaced(tmp_path, hook):
    runner = run(Runner, tmp_path, epochs=1, **hook)
    assert any(type(one) is CheckpointHook for one in runner.hooks)


@pytest.mark.parametrize('info', [
    dict(best_ckpt='{}/config.py'), dict(best_ckpt=5), dict(keep_ckpt_ids=5),
    dict(keep_ckpt_ids=['../x'])])
def test_a_resumed_file_removes_no_other(tmp_path, info):
    """Of what it says of other checkpoints only the names of such are taken."""
    run(Runner, tmp_path, epochs=1, interval=1)
    (tmp_path / 'config.py').write_text('x = 1')
    checkpoint = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)
    info = {key: value.format(tmp_path) if isinstance(value, str) else value
            for key, value in info.items()}
    checkpoint['message_hub']['runtime_info'].update(info)
    torch.save(checkpoint, tmp_path / 'x.pth')
    run(Runner, tmp_path, interval=1, max_keep_ckpts=1, resume=True, load_from=str(tmp_path / 'x.pth'))
    assert (tmp_path / 'config.py').exists() and names(tmp_path)[-2:] == ['epoch_4.pth', 'x.pth']


@pytest.mark.parametrize('name, value, kept', [
    ('best_ckpt', '/x/best_score_epoch_3.pth', True), ('best_ckpt', '/x/config.py', False),
    ('best_ckpt_a', '/x/best_dir/../a', False), ('best_ckpt', 5, False), ('best_score', 0.5, True),
    ('best_score_a', np.float64(1), True), ('best_score', 'x', False)])
def test_only_a_best_checkpoint_is_taken_for_one(name, value, kept):
    info = {name: value}
    CheckpointHook.check_history(info)
    assert (name in info) == kept


def test_unknown_arguments_are_refused(tmp_path):
    with pytest.raises(UserError, match='default_hooks of the config.*no argument intervall'):
        run(Runner, tmp_path, intervall=1)


def test_what_a_kill_left_over_is_removed(tmp_path):
    (tmp_path / 'epoch_3.pth.abc.partial').write_bytes(b'half')
    (tmp_path / 'mine.partial').write_bytes(b'not ours')
    run(Runner, tmp_path, interval=1, max_keep_ckpts=1)
    assert names(tmp_path) == ['epoch_4.pth'] and (tmp_path / 'mine.partial').exists()


@METRICS.register_module()
class Score(BaseMetric):
    """Grows from epoch to epoch."""

    def process(self, data_batch, data_samples):
        self.results.append(data_samples[0])

    def compute_metrics(self, results):
        return dict(score=sum(results))


def test_a_copied_folders_best_is_its_own(tmp_path):
    """mmengine records the path of the best checkpoint, and would delete the original's."""
    one, two = tmp_path / 'one', tmp_path / 'two'

    def train(work_dir, epochs, **more):
        data = DataLoader(images(2), batch_size=2)
        hook = dict(type='CheckpointHook', interval=1, save_best='score', rule='greater')
        Runner(Toy(), str(work_dir), train_dataloader=data, val_dataloader=data, val_cfg=dict(),
               val_evaluator=dict(type='Score'), train_cfg=dict(by_epoch=True, max_epochs=epochs),
               optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)), default_scope='mmengine',
               default_hooks=dict(checkpoint=hook), experiment_name=f'best_{epochs}', **more).train()

    train(one, 2)
    shutil.copytree(one, two)
    train(two, 3, resume=True, load_from=str(two / 'epoch_2.pth'))
    assert [path.name for path in one.glob('best*')] == ['best_score_epoch_2.pth']
    assert [path.name for path in two.glob('best*')] == ['best_score_epoch_3.pth']
