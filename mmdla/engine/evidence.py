"""The records that tools/evidence.py keeps of runs."""
import json
from pathlib import Path
from statistics import mean, median, stdev
from typing import Dict, List, NamedTuple, Optional

from mmdla.engine.work_dir import has_numbers, measured, read_scalars
from mmdla.errors import UserError, reason


class Measure(NamedTuple):
    """How a metric of a run is called and given in per cent."""

    name: str
    factor: float
    digits: int
    task: str

    def text(self, value: float) -> str:
        return f'{value:.{self.digits}f}'


MEASURES = {
    'accuracy/top1': Measure('top-1', 1, 2, 'Image Classification'),
    'coco/bbox_mAP': Measure('box AP', 100, 1, 'Object Detection')}
LOST = 'files lost'  # the end of an attempt from whose checkpoints the next one could not go on
KEYS = ('config', 'seed', 'epochs', 'options', 'status', 'attempts', 'metric', 'val', 'loss',
        'seconds_per_epoch')


class Record(NamedTuple):
    """A run of a config with a seed.

    ``status`` is running, stopped, failed or finished; ``attempts`` has a dict for each process that
    worked on the run, with its circumstances and how it ended.
    """

    config: str
    seed: int
    epochs: int
    options: List[str]
    status: str
    attempts: List[dict]
    metric: Optional[str]
    val: List[list]
    loss: List[list]
    seconds_per_epoch: float

    @property
    def epoch(self) -> int:
        """The last that was validated."""
        return self.val[-1][0] if self.val else 0

    @property
    def recipe(self) -> tuple:
        return self.epochs, tuple(self.options)

    @property
    def measure(self) -> Measure:
        return MEASURES[self.metric]

    @property
    def result(self) -> Optional[float]:
        """The last validation in per cent."""
        return self.measure.factor * self.val[-1][1] if self.val else None

    def __str__(self) -> str:
        text = f'epoch {self.epoch} of {self.epochs}'
        if self.val:
            text += f', {self.measure.name} {self.measure.text(self.result)}'
        error = self.attempts[-1].get('error') if self.attempts else None
        return f'{text}, {self.status}' + (f': {error}' if error else '')


def read_record(path: Path) -> Record:
    """
    Raises:
        UserError: If the file is no record, with its name.
    """
    try:
        content = json.loads(path.read_text())
        record = Record(**{key: content[key] for key in KEYS})
        if (record.val or record.status == 'finished') and record.metric not in MEASURES:
            raise ValueError(f'metric is {record.metric}')
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise UserError(f'{path} is no record of tools/evidence.py ({reason(error)}): correct or remove '
                        'it.') from error
    return record


def read_records(folder: Path) -> List[Record]:
    """All of a folder, by config and seed."""
    return sorted((read_record(path) for path in folder.glob('*.json')),
                  key=lambda record: (record.config, record.seed))


def by_config(records: List[Record]) -> Dict[str, List[Record]]:
    """
    Raises:
        UserError: Where records of a config are not of one recipe, so that their mean has no sense.
    """
    configs: Dict[str, List[Record]] = {}
    for record in records:
        configs.setdefault(record.config, []).append(record)
    for config, each in configs.items():
        if len({record.recipe for record in each}) > 1:
            raise UserError(f'the records of {config} differ in epochs or options: keep those of '
                            'another recipe in another folder.')
    return configs


def spread(values: List[float], measure: Measure) -> str:
    """Mean and, of several, sample deviation."""
    if not values:
        return ''
    return measure.text(mean(values)) + (f' ± {stdev(values):.2f}' if len(values) > 1 else '')


def curves(work_dir: Path) -> dict:
    """``metric``, ``val``, ``loss`` and ``seconds_per_epoch`` of a run so far.

    What a restart repeats is the newer one. The seconds are those of training alone, by the median
    iteration.
    """
    lines = read_scalars(str(work_dir))
    metric, val = measured(lines)
    train = {line['step']: line for line in lines if has_numbers(line, 'loss', 'epoch', 'step', 'time')}
    losses: Dict[int, List[float]] = {}
    for line in train.values():
        if abs(line['loss']) < float('inf'):
            losses.setdefault(line['epoch'], []).append(line['loss'])
    seconds = 0.0
    if train:
        iterations = max(train) / max(line['epoch'] for line in train.values())
        seconds = round(iterations * median(line['time'] for line in train.values()), 1)
    return dict(metric=metric, val=val, seconds_per_epoch=seconds,
                loss=[[epoch, round(mean(values), 4)] for epoch, values in sorted(losses.items())])
