"""The progress display, on runs of a model of one parameter."""
import logging
import re
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel
from rich.console import Console
from torch import nn

from mmdla.engine import progress as module
from mmdla.engine.runner import Runner


class Model(BaseModel):

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, *inputs, mode='tensor'):
        value = self.weight * torch.stack(inputs)
        return dict(loss=value.square().mean()) if mode == 'loss' else [value]


class Table(BaseMetric):
    """Prints as COCO's evaluation does."""

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        print('Loading and preparing results...')
        print(' Average Precision  (AP) @[ IoU=0.50 ] = 0.123')
        return dict(ap=0.123)


@pytest.fixture
def runner(tmp_path):
    logging.disable(logging.NOTSET)
    loader = dict(dataset=[torch.ones(1)] * 4, batch_size=2,
                  sampler=dict(type='DefaultSampler', shuffle=False))
    return Runner(
        Model(), str(tmp_path), train_dataloader=loader, val_dataloader=loader, test_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=3), val_cfg=dict(), test_cfg=dict(),
        val_evaluator=Evaluator(Table()), test_evaluator=Evaluator(Table()),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)), experiment_name=tmp_path.name,
        default_scope='mmengine')


def log(runner):
    return next(Path(runner.log_dir).glob('*.log')).read_text()


def test_training_shows_a_line_an_epoch_and_logs_the_rest(runner, capsys):
    with module.progress(runner):
        runner.train()
    lines = capsys.readouterr().out.splitlines()
    # the weight goes from 1 to 0.8, 0.64, ...: the mean of all losses so far
    losses = [0.8**(2 * step) for step in range(6)]
    assert [line.strip() for line in lines] == [
        f'epoch {i} of 3: loss {sum(losses[:2 * i]) / (2 * i):.3f}' for i in (1, 2, 3)]
    for words in ('Epoch(train)', 'Loading and preparing results', 'Average Precision'):
        assert log(runner).count(words) == (6 if 'train' in words else 3)


def test_a_test_shows_the_table_of_ap_once(runner, capsys):
    with module.progress(runner):
        runner.test()
    assert capsys.readouterr().out == ' Average Precision  (AP) @[ IoU=0.50 ] = 0.123\n'
    assert 'Loading and preparing results' in log(runner)


def test_a_terminal_has_a_bar_with_the_running_loss_and_gets_its_cursor_back(runner, monkeypatch):
    def terminal(file, **kwargs):
        return Console(file=file, width=100, **{**kwargs, 'force_terminal': True})

    class Broken(module.ProgressHook):
        def after_train_epoch(self, runner):
            raise KeyboardInterrupt

    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setattr(module, 'Console', terminal)
    monkeypatch.setattr(module, 'ProgressHook', Broken)
    with open(Path(runner.work_dir) / 'screen', 'w+') as screen:
        monkeypatch.setattr('sys.stdout', screen)
        with pytest.raises(KeyboardInterrupt), module.progress(runner):
            runner.train()
        screen.seek(0)
        shown = screen.read()
    assert 'training' in shown and re.search(r'33 %.*loss 0\.820', shown)
    assert shown.rindex('\x1b[?25h') > shown.rindex('\x1b[?25l')
