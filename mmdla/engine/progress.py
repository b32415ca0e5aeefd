"""A progress bar in place of the log's lines, which stay in the log file."""
import io
import logging
import sys
from contextlib import contextmanager, redirect_stdout
from typing import Iterator

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner, TestLoop
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

WINDOW = 20


@contextmanager
def progress(runner: Runner) -> Iterator[None]:
    """Show a run's progress on the console, and all else in its log file.

    A bar with the time left and the mean loss of the last 20 steps on a terminal, a line an epoch
    elsewhere. Errors still come through, and so does COCO's table of AP in a test.

    Args:
        runner (Runner): Of a run that has not started.
    """
    console = Console(file=sys.stdout, highlight=False, quiet=not is_main_process(),
                      force_terminal=None if sys.stdout.isatty() else False)
    hook = ProgressHook(console)
    runner.register_hook(hook, 'LOWEST')
    for handler in runner.logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.ERROR)
    try:
        with redirect_stdout(LogWriter(runner, console)):
            yield
    finally:
        hook.bar.stop()  # gives the terminal its cursor back


class LogWriter(io.TextIOBase):
    """A stream whose lines go to the log, and COCO's table of a test to the console too."""

    def __init__(self, runner: Runner, console: Console) -> None:
        self.runner, self.console = runner, console

    def write(self, text: str) -> int:
        for line in filter(str.strip, text.splitlines()):
            self.runner.logger.info(line)
            if line.lstrip().startswith('Average ') and isinstance(self.runner._test_loop, TestLoop):
                self.console.print(line)
        return len(text)


class ProgressHook(Hook):
    """Draws the progress of training or testing."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = Progress(
            TextColumn('      {task.description}'), BarColumn(30),
            TextColumn('{task.percentage:3.0f} %'),
            TimeRemainingColumn(elapsed_when_finished=True), TextColumn('{task.fields[loss]}'),
            console=console, refresh_per_second=2, redirect_stdout=False, redirect_stderr=False,
            disable=not console.is_interactive)

    def start(self, what: str, total: int, done: int = 0) -> None:
        """Begin a bar of ``total`` steps, of which ``done`` were done before."""
        self.task = self.bar.add_task(what, total=total, completed=done, loss='')
        self.bar.start()

    def before_train(self, runner) -> None:
        self.start('training', runner.max_iters, runner.iter)

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        self.bar.update(self.task, completed=runner.iter + 1, loss=f'loss {self.loss(runner):.3f}')

    def after_train_epoch(self, runner) -> None:
        if self.bar.disable:
            self.console.print(f'      epoch {runner.epoch + 1} of {runner.max_epochs}: '
                               f'loss {self.loss(runner):.3f}')

    def before_test(self, runner) -> None:
        self.start('testing', len(runner.test_dataloader))

    def after_test_iter(self, runner, batch_idx: int, *args, **kwargs) -> None:
        self.bar.update(self.task, completed=batch_idx + 1)

    @staticmethod
    def loss(runner) -> float:
        """Mean of the last 20 steps."""
        return runner.message_hub.get_scalar('train/loss').mean(WINDOW)
