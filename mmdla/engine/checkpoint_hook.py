"""Saving checkpoints so that no kill and no full disk costs one."""
import math
import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, Tuple

from mmengine.dist import get_world_size, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.optim import OptimWrapper

from mmdla.engine.resume import EPOCH_LENGTH, PROCESSES, SAVED_AT, Saved
from mmdla.errors import RunError, UserError
from mmdla.files import check_folder, written
from mmdla.pretrained import not_finite, shorten
from mmdla.registry import HOOKS

BACKEND = 'mmdla_whole_files'


class WholeFiles(LocalBackend):
    """mmengine's local files; each is written whole or not at all, and removed only when told to."""

    def __init__(self) -> None:
        self.outdated: List[Tuple[Path, int]] = []

    def put(self, obj, filepath) -> None:
        with written(filepath) as partial:
            partial.write_bytes(obj)

    def remove(self, filepath) -> None:
        self.outdated.append((Path(filepath), os.stat(filepath).st_ino))

    def remove_outdated(self) -> None:
        """Remove the files that became outdated, and none that has taken the name since."""
        while self.outdated:
            path, number = self.outdated.pop()
            if path.exists() and path.stat().st_ino == number:
                path.unlink()


register_backend(BACKEND, WholeFiles)


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """mmengine's CheckpointHook, with the same arguments, which never loses a checkpoint.

    A checkpoint is written to a temporary file, synced and put in its place at once, and only then are
    the outdated ones removed; mmengine's hook removes first and writes in place. Weights that are not
    finite are not saved. Before training it looks whether the disk has room.

    Raises:
        RunError: If a checkpoint cannot be written, or if the weights are not finite; it names the
            newest whole checkpoint.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        if self.args:
            raise TypeError(f'CheckpointHook has no argument {", ".join(self.args)}')
        if self.backend_args is None and self.file_client_args is None:
            self.backend_args = dict(backend=BACKEND)

    def before_train(self, runner) -> None:
        self.check_history(runner.message_hub.runtime_info)
        super().before_train(runner)
        if not isinstance(self.file_backend, WholeFiles):
            return
        if self.save_best:
            self.best_in_this_folder(runner)
        if is_main_process():
            for left_over in Path(self.out_dir).glob('*.pth.*.partial'):
                left_over.unlink(missing_ok=True)
            self.check_room(runner)

    @staticmethod
    def check_history(info: dict) -> None:
        """Forget what a resumed file says of others to be removed in time, unless a run wrote it."""
        steps = info.get('keep_ckpt_ids', [])
        if not (isinstance(steps, list) and all(isinstance(step, int) for step in steps)):
            del info['keep_ckpt_ids']
        for name, value in list(info.items()):
            bad_score = name.startswith('best_score') and not isinstance(value, (int, float))
            bad_path = name.startswith('best_ckpt') and not (
                isinstance(value, str) and Path(value).name.startswith('best_'))
            if bad_score or bad_path:
                del info[name]

    def best_in_this_folder(self, runner) -> None:
        """Look for the best checkpoint here: a resumed run's folder may have been moved or copied."""
        one = len(self.key_indicators) == 1
        best = {'best_ckpt': self.best_ckpt_path} if one else {
            f'best_ckpt_{key}': path for key, path in self.best_ckpt_path_dict.items()}
        for name, path in best.items():
            if path is None:
                continue
            path = str(Path(self.out_dir) / Path(path).name)
            runner.message_hub.update_info(name, path)
            if one:
                self.best_ckpt_path = path
            else:
                self.best_ckpt_path_dict[name.removeprefix('best_ckpt_')] = path

    def check_room(self, runner) -> None:
        """Stop where not one checkpoint fits on the disk, and say where not all will."""
        trained = sum(p.nbytes for p in runner.model.parameters() if p.requires_grad)
        size = sum(t.nbytes for t in runner.model.state_dict().values())
        if self.save_optimizer and isinstance(runner.optim_wrapper, OptimWrapper):
            size += trained * (2 if 'betas' in runner.optim_wrapper.optimizer.defaults else 1)
        length = runner.max_epochs if self.by_epoch else runner.max_iters
        done = runner.epoch if self.by_epoch else runner.iter
        count = math.ceil((length - done) / self.interval) if self.interval > 0 else 1
        if self.max_keep_ckpts > 0:
            count = min(count, self.max_keep_ckpts + 1)
        free = shutil.disk_usage(check_folder(self.out_dir)).free
        if free < size:
            raise UserError(f'{self.out_dir} has {free / 1e6:.0f} MB left, and a checkpoint needs '
                            f'{size / 1e6:.0f} MB: free disk space, or name another --work-dir.')
        if free < count * size:
            print(f'note: {self.out_dir} has {free / 1e6:.0f} MB left, and the {count} checkpoints of '
                  f'this run need {count * size / 1e6:.0f} MB: free disk space, or set '
                  'default_hooks.checkpoint.max_keep_ckpts.')

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        checkpoint['meta'][SAVED_AT] = time.time()  # mmengine's own time is of some time zone
        checkpoint['meta'].update({EPOCH_LENGTH: len(runner.train_dataloader),
                                   PROCESSES: get_world_size()})
        bad = not_finite(checkpoint['state_dict'])
        if bad:
            raise UserError(
                f'weights are not finite after iteration {checkpoint["meta"]["iter"]} ({shorten(bad)}), '
                'and are not saved: lower the learning rate, or clip gradients '
                '(optim_wrapper.clip_grad).')

    def after_train_epoch(self, runner) -> None:
        with self.saving():
            super().after_train_epoch(runner)

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        with self.saving():
            super().after_train_iter(runner, *args, **kwargs)

    def after_val_epoch(self, runner, metrics) -> None:
        with self.saving():
            super().after_val_epoch(runner, metrics)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Say how to go on where a checkpoint cannot be saved, and else remove the outdated ones."""
        try:
            yield
        except UserError as error:
            raise RunError(f'{str(error)[:-1]}; {self.way_on()}.') from error
        if isinstance(self.file_backend, WholeFiles):
            self.file_backend.remove_outdated()

    def way_on(self) -> str:
        return Saved(self.out_dir, [self.filename_tmpl]).way_on()
