"""Finding the checkpoint that a run goes on from, and saying what it lacks."""
import os
import re
from pathlib import Path
from typing import List, Optional, Tuple

from mmengine.config import Config
from mmengine.dist import get_world_size

from mmdla.errors import UserError
from mmdla.hosts import checkpoints
from mmdla.literal_config import literal_config
from mmdla.names_before import present_names
from mmdla.pretrained import read_checkpoint, state_dict_of

SAVED_AT, EPOCH_LENGTH, PROCESSES = 'saved_at', 'epoch_length', 'processes'
TEMPLATES = ('epoch_{}.pth', 'iter_{}.pth')


class Saved:
    """The checkpoints that a run saves to go on from.

    Args:
        folder (str): Where they are.
        templates (sequence of str): Of their names, with {} for a number.
    """

    def __init__(self, folder: str, templates=TEMPLATES) -> None:
        self.folder = folder
        self.pattern = '|'.join(re.escape(template).replace(r'\{\}', r'\d+') for template in templates)

    @classmethod
    def of(cls, cfg: Config, work_dir: str) -> 'Saved':
        """Those of a config's CheckpointHook."""
        hook, folder = (cfg.get('default_hooks') or {}).get('checkpoint') or {}, work_dir
        if hook.get('out_dir'):
            folder = os.path.join(hook['out_dir'], os.path.basename(work_dir.rstrip(os.sep)))
        template = hook.get('filename_tmpl')
        return cls(folder, [template] if template else TEMPLATES)

    def paths(self) -> List[str]:
        """All of them."""
        found = Path(self.folder).iterdir() if os.path.isdir(self.folder) else ()
        return sorted(str(path) for path in found if re.fullmatch(self.pattern, path.name))

    def newest_first(self) -> Tuple[List[str], List[str]]:
        """Those that look whole, and what is wrong with the others; their tensors are not read.

        By the time of saving and the iteration that they record: a file's own time says nothing after
        a copy.
        """
        found, reasons = [], []
        for path in self.paths():
            try:
                checkpoint = checkpoints.load(path, mmap=True)
                check_resumable(checkpoint, path)
                meta = checkpoint['meta']
                found.append((float(meta.get(SAVED_AT) or 0), meta['iter'], path))
            except UserError as error:
                reasons.append(str(error))
        return [path for *_, path in sorted(found, reverse=True)], reasons

    def newest(self) -> Tuple[Optional[str], List[str]]:
        """The newest whole one, and why newer or broken ones are not taken.

        Raises:
            UserError: If there are some, but no whole one.
        """
        paths, reasons = self.newest_first()
        for path in paths:
            try:
                state_dict_of(read_checkpoint(path), path)
            except UserError as error:
                reasons.append(str(error))
            else:
                return path, reasons
        if reasons:
            raise UserError(f'{self.folder} has no checkpoint to go on from: {reasons[0]}')
        return None, []

    def way_on(self) -> str:
        """How to go on after a run that broke off."""
        paths, _ = self.newest_first()
        return f'--resume goes on from {paths[0]}' if paths else 'no checkpoint had been written yet'


def check_resumable(checkpoint, filename: str) -> None:
    """
    Raises:
        UserError: If it is no checkpoint of a training run of this version.
    """
    checkpoint = checkpoint if isinstance(checkpoint, dict) else {}
    if present_names(checkpoint.get('state_dict', ())):
        raise UserError(f'{filename} is of mmdla 0.1, whose optimizer state has another order, and '
                        'cannot be resumed: start from its weights, --cfg-options '
                        f'load_from={filename}.')
    meta = checkpoint.get('meta')
    if not (isinstance(meta, dict) and isinstance(checkpoint.get('message_hub'), dict)
            and all(isinstance(meta.get(name), int) for name in ('epoch', 'iter'))
            and all(isinstance(meta.get(name, 1), int) for name in (EPOCH_LENGTH, PROCESSES))
            and isinstance(meta.get(SAVED_AT, 0), (int, float))):
        raise UserError(f'checkpoint {filename} holds weights but no state of a run, and cannot be '
                        f'resumed: start from them with --cfg-options load_from={filename}.')


def is_finished(cfg: Config, checkpoint: dict) -> bool:
    """Whether a checkpoint is of the last epoch (or iteration) of the run that the config describes."""
    meta, loop = checkpoint['meta'], cfg.get('train_cfg') or {}
    return (meta['epoch'] >= loop['max_epochs'] if loop.get('max_epochs')
            else meta['iter'] >= loop.get('max_iters', float('inf')))


def differences(cfg: Config, checkpoint: dict, filename: str, epoch_length: int) -> List[str]:
    """What of the config does not act, since a resumed run goes on with the state of its checkpoint.

    Args:
        cfg (Config): Of the run that resumes.
        checkpoint (dict): A resumable one.
        filename (str): Of the checkpoint.
        epoch_length (int): Iterations in an epoch of the run that resumes.

    Raises:
        UserError: If the checkpoint's learning-rate schedules are of other kinds.
    """
    found, meta = [], checkpoint['meta']
    for key, what in (('optimizer', 'optimizer'), ('param_schedulers', 'learning-rate schedules')):
        if key not in checkpoint:
            found.append(f'{filename} has no state of the {what}, which therefore starts afresh')
    if 'ema_state_dict' in checkpoint and 'EMAHook' not in str(cfg.get('custom_hooks')):
        found.append(f'{filename} is of a run with averaged weights (EMAHook), which go on as the '
                     'weights of this run without it')
    before = {name: recorded(meta.get('cfg'), name) for name in
              ('train_cfg', 'param_scheduler', 'optim_wrapper')}
    now = {name: recorded(cfg.pretty_text, name) for name in before}
    if kinds(before['param_scheduler']) != kinds(now['param_scheduler']):
        raise UserError(
            f'{filename} was trained with the schedules {kinds(before["param_scheduler"])} and this '
            f'config has {kinds(now["param_scheduler"])}: use its config, or start from its weights '
            f'with --cfg-options load_from={filename}.')
    epochs = [(value or {}).get('max_epochs') for value in (before['train_cfg'], now['train_cfg'])]
    length = meta.get(EPOCH_LENGTH) or (meta['iter'] / meta['epoch'] if meta['epoch'] else epoch_length)
    processes = meta.get(PROCESSES, get_world_size())
    if epochs[1] and length != epoch_length:
        why = (f'{processes} processes shared it, and now {get_world_size()}' if
               processes != get_world_size() else 'its number of processes, batch size or data set was '
               'another')
        found.append(f'{filename} had {length:g} iterations in an epoch ({why}), and this run has '
                     f'{epoch_length}: learning-rate schedules keep their old lengths, so that they end '
                     f'{"before" if length < epoch_length else "after"} the run; go on with as many '
                     'processes and images in a batch, or start from its weights with --cfg-options '
                     f'load_from={filename}')
    elif not epochs[1] and processes != get_world_size():
        found.append(f'{filename} is of a run of {processes} processes, and this one has '
                     f'{get_world_size()}: an iteration has another number of images, and the schedules '
                     'go on as they were')
    elif epochs[0] != epochs[1]:
        found.append(f'{filename} is of a run of {epochs[0]} epochs, and this one has {epochs[1]}: '
                     'learning-rate schedules keep their old lengths')
    elif before['param_scheduler'] != now['param_scheduler']:
        found.append(f'param_scheduler of {filename} goes on, not that of the config')
    if before['optim_wrapper'] and (before['optim_wrapper'].get('optimizer') !=
                                    (now['optim_wrapper'] or {}).get('optimizer')):
        found.append(f'the optimizer settings of {filename}, such as its learning rate, go on, not '
                     'those of the config')
    return found


def recorded(text: Optional[str], name: str):
    """A setting in the text of a config, a dict or a list of dicts; None where there is none."""
    try:
        value = literal_config(text, name)
    except (KeyError, TypeError, ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    parts = value if isinstance(value, (list, tuple)) else [value]
    return value if all(isinstance(part, dict) for part in parts) else None


def kinds(schedules) -> str:
    """Types of learning-rate schedules."""
    schedules = [schedules] if isinstance(schedules, dict) else schedules or []
    return ', '.join(str(schedule.get('type')).rpartition('.')[2] for schedule in schedules)
