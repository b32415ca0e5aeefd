"""What mmengine's runs leave in their work dirs."""
import json
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

from mmengine.config import Config

METRICS = ('accuracy/top1', 'coco/bbox_mAP')


def read_scalars(work_dir: str) -> List[dict]:
    """The lines of all scalars.json of a work dir, those of its restarts in order.

    A line that a run is still writing, or broke off in, is left out.
    """
    lines = []
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue
    return lines


def validations(scalars: List[dict], metric: str) -> Dict[int, float]:
    """A validation metric by epoch; what a restart repeats is the newer one."""
    return {line['step']: line[metric] for line in scalars if metric in line}


class Run(NamedTuple):
    """A finished run: its config, the config's name, and its last validation of a metric."""

    config: Config
    name: str
    value: float


def finished_run(work_dir: str, metric: str) -> Optional[Run]:
    """A run that came to its last epoch; None, and a printed note, for one that did not.

    Without a note for a folder that holds no run, or none that measures this.
    """
    path = next(iter(sorted(Path(work_dir).glob('*.py'))), None)
    values = validations(read_scalars(work_dir), metric)
    if path is None or not values:
        return None
    config, last = Config.fromfile(path), max(values)
    epochs = config.get('train_cfg', {}).get('max_epochs', last)
    if last < epochs:
        print(f'note: {work_dir} is left out: it is at epoch {last} of {epochs}.')
        return None
    return Run(config, path.stem, values[last])
