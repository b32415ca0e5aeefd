"""What mmengine's runs leave in their work dirs."""
import json
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

from mmdla.errors import reason
from mmdla.literal_config import whole_literal_config

METRICS = ('accuracy/top1', 'coco/bbox_mAP')


def read_scalars(work_dir: str) -> List[dict]:
    """The lines of all scalars.json of a work dir, those of its restarts in order.

    A line that a run is still writing, or broke off in, is left out.
    """
    lines = []
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for line in path.read_text(errors='replace').splitlines():
            try:
                lines.append(json.loads(line))
            except (RecursionError, ValueError):
                continue
    return [line for line in lines if isinstance(line, dict)]


def has_numbers(line: dict, *names: str) -> bool:
    """Whether a line has all of these, as numbers."""
    return all(isinstance(line.get(name), (int, float)) for name in names)


def validations(scalars: List[dict], metric: str) -> Dict[int, float]:
    """A validation metric by epoch; what a restart repeats is the newer one."""
    return {line['step']: line[metric] for line in scalars if has_numbers(line, 'step', metric)}


def measured(scalars: List[dict]) -> Tuple[Optional[str], List[list]]:
    """The first of ``METRICS`` that a run validates, and its [epoch, value] pairs; else (None, [])."""
    for metric in METRICS:
        if values := validations(scalars, metric):
            return metric, [[epoch, values[epoch]] for epoch in sorted(values)]
    return None, []


class Run(NamedTuple):
    """A finished run: its config's model, the config's name, and its last validation of a metric."""

    model: dict
    name: str
    value: float


def finished_run(work_dir: str, metric: str) -> Optional[Run]:
    """A run that came to its last epoch; None, and a printed note, for one that did not.

    The config that the run wrote is read and not executed; one that is not as mmengine writes it is
    left out with a note too. Without a note for a folder that holds no run, or none that measures this.
    """
    path = next(iter(sorted(Path(work_dir).glob('*.py'))), None)
    values = validations(read_scalars(work_dir), metric)
    if path is None or not values:
        return None
    last = max(values)
    try:
        config = whole_literal_config(path.read_text())
        model, epochs = config['model'], (config.get('train_cfg') or {}).get('max_epochs', last)
        model['backbone'].items()
        unfinished = last < epochs
    except (AttributeError, KeyError, OSError, SyntaxError, TypeError, ValueError) as error:
        print(f'note: {work_dir} is left out: {path.name} is no config that tools/train.py wrote '
              f'({reason(error)}).')
        return None
    if unfinished:
        print(f'note: {work_dir} is left out: it is at epoch {last} of {epochs}.')
        return None
    return Run(model, path.stem, values[last])
