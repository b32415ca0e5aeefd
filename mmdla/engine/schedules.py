"""Learning-rate schedules that do not go with the length of the run."""
from typing import Iterator, List, Optional, Tuple

from mmengine.config import Config

from mmdla.engine.data_config import type_name
from mmdla.errors import UserError


def schedules_of(cfg: Config) -> Iterator[Tuple[str, dict]]:
    """The schedules of a config with one optimizer, each with its name in the config."""
    given = cfg.get('param_scheduler') or []
    if isinstance(given, dict):
        yield from [('param_scheduler', given)] if 'type' in given else []
        return
    for index, schedule in enumerate(given):
        if isinstance(schedule, dict):
            yield f'param_scheduler.{index}', schedule


def check_schedules(cfg: Config, iterations: Optional[int] = None) -> None:
    """A schedule without an end of its own lasts as long as the run, so that it must begin before.

    Args:
        cfg (Config): Of a training run.
        iterations (int, optional): Of the whole run, where they are known.

    Raises:
        UserError: If one begins when the run is over.
    """
    for name, schedule in schedules_of(cfg):
        unit, length = length_for(schedule, cfg, iterations)
        begin = schedule.get('begin', 0)
        if 'end' not in schedule and isinstance(length, int) and begin >= length:
            raise UserError(
                f'{name} ({type_name(schedule)}) begins after {begin} {unit} and the run has {length}: '
                f'train for more than {begin}, or set {name}.begin, and the end of what is ahead of it, '
                f'to less than {length}.')


def long_warmups(cfg: Config, iterations: Optional[int] = None) -> List[str]:
    """What is to be said of warm-ups that are longer than the run, or too short to begin.

    Args:
        cfg (Config): Of a training run.
        iterations (int, optional): Of the whole run, where they are known.
    """
    found = []
    for name, schedule in schedules_of(cfg):
        unit, length = length_for(schedule, cfg, iterations)
        end = schedule.get('end')
        if is_warmup(schedule) and isinstance(end, int) and isinstance(length, int) and end > length:
            found.append(
                f'the warm-up ({name}, {type_name(schedule)}) takes {end} {unit} and the run has '
                f'{length}, so that the learning rate never gets to what is set: --cfg-options '
                f'{name}.end={max(2, length // 10)} shortens it.')
        elif (is_warmup(schedule) and isinstance(end, int) and end < 2
              and not schedule.get('convert_to_iter_based')):
            found.append(
                f'the warm-up ({name}, {type_name(schedule)}) ends at {end}, before its first step, so '
                f'that the learning rate stays where it starts: --cfg-options {name}.end=2 at least.')
    return found


def is_warmup(schedule: dict) -> bool:
    kind = type_name(schedule).rpartition('.')[2]
    return kind in ('LinearLR', 'ConstantLR') and schedule.get('begin', 0) == 0 and (
        schedule.get('factor' if kind == 'ConstantLR' else 'start_factor', 1 / 3) <
        schedule.get('end_factor', 1))


def length_for(schedule: dict, cfg: Config, iterations: Optional[int]) -> Tuple[str, Optional[int]]:
    """What a schedule counts in, and how many of it the run has; None where that is not known."""
    loop = cfg.get('train_cfg') or {}
    if schedule.get('by_epoch', True):
        return 'epochs', loop.get('max_epochs')
    return 'iterations', iterations or loop.get('max_iters')
