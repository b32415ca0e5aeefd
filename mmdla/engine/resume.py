"""Finding the checkpoint that a run goes on from, and saying what it lacks."""
from pathlib import Path
from typing import List, Optional, Tuple

from mmengine.config import Config

from mmdla.errors import UserError
from mmdla.hosts import checkpoints
from mmdla.literal_config import literal_config
from mmdla.names_before import present_names
from mmdla.pretrained import read_checkpoint, state_dict_of


def candidates(work_dir: str) -> Tuple[List[str], List[str]]:
    """Checkpoints of a work dir to go on from, the newest first, and files that are none.

    The newest by the time and the iteration that they record, since a file's own time says nothing
    after a copy. Their tensors are not read.
    """
    found, broken = [], []
    for path in sorted(Path(work_dir).glob('*.pth')):
        if path.is_symlink() or path.name.startswith('best_'):
            continue
        try:
            meta = checkpoints.load(str(path), mmap=True)['meta']
            found.append((meta['time'], meta['iter'], str(path)))
        except (UserError, KeyError, TypeError):
            broken.append(str(path))
    return [path for *_, path in sorted(found, reverse=True)], broken


def newest_checkpoint(work_dir: str) -> Tuple[Optional[str], List[str]]:
    """The newest whole checkpoint of a work dir, and why newer or broken files are not taken.

    Raises:
        UserError: If there are checkpoints, but no whole one.
    """
    paths, broken = candidates(work_dir)
    reasons = [f'{path} is no whole checkpoint of a run and is left out' for path in broken]
    for path in paths:
        try:
            state_dict_of(read_checkpoint(path), path)
        except UserError as error:
            reasons.append(str(error))
        else:
            return path, reasons
    if reasons:
        raise UserError(f'{work_dir} has no whole checkpoint to go on from, {len(reasons)} broken ones: '
                        'remove them to start from the beginning, or name another --work-dir.')
    return None, []


def way_on(work_dir: str) -> str:
    """How to go on after a run that broke off."""
    paths, _ = candidates(work_dir)
    return f'--resume goes on from {paths[0]}' if paths else 'no checkpoint had been written yet'


def check_resumable(checkpoint, filename: str) -> None:
    """
    Raises:
        UserError: If it is no checkpoint of a training run of this version.
    """
    state_dict_of(checkpoint, filename)
    if present_names(checkpoint.get('state_dict', ())):
        raise UserError(f'{filename} is of mmdla 0.1, whose optimizer state has another order, and '
                        'cannot be resumed: start from its weights, --cfg-options '
                        f'load_from={filename}.')
    meta = checkpoint.get('meta')
    if not (isinstance(meta, dict) and {'epoch', 'iter'} <= set(meta) and 'message_hub' in checkpoint):
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
    before = {name: recorded(meta.get('cfg'), name) for name in
              ('train_cfg', 'param_scheduler', 'optim_wrapper')}
    now = {name: recorded(cfg.pretty_text, name) for name in before}
    if kinds(before['param_scheduler']) != kinds(now['param_scheduler']):
        raise UserError(
            f'{filename} was trained with the schedules {kinds(before["param_scheduler"])} and this '
            f'config has {kinds(now["param_scheduler"])}: use its config, or start from its weights '
            f'with --cfg-options load_from={filename}.')
    length = meta['iter'] / meta['epoch'] if meta['epoch'] else epoch_length
    epochs = [(value or {}).get('max_epochs') for value in (before['train_cfg'], now['train_cfg'])]
    if length != epoch_length:
        found.append(f'{filename} had {length:g} iterations in an epoch (its number of processes, batch '
                     f'size or data set was another), and this run has {epoch_length}: learning-rate '
                     'schedules keep their old lengths')
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
    """A setting in the text of a config; None where there is none."""
    try:
        return literal_config(text, name)
    except (KeyError, TypeError, ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def kinds(schedules) -> str:
    """Types of learning-rate schedules."""
    schedules = [schedules] if isinstance(schedules, dict) else schedules or []
    return ', '.join(str(schedule.get('type')) for schedule in schedules)
