"""The tables and figures of docs/evidence.md, from the records of tools/evidence.py.

    python tools/analysis/evidence_page.py            # after new runs
    python tools/analysis/evidence_page.py --check    # writes nothing, fails if something is stale

Means and deviations are of finished runs, the list has every run that was started, and the time of an
epoch is that of the fastest seed.
"""
import argparse
import json
import re
from hashlib import sha1
from math import sqrt
from pathlib import Path
from statistics import mean, variance
from typing import Dict, Iterable, List, NamedTuple

from mmdla.engine import cli
from mmdla.engine.evidence import LOST, Record, by_config, read_records, spread
from mmdla.engine.figure_style import NAMES, style
from mmdla.errors import UserError
from mmdla.files import with_part, write_figure, write_text

import matplotlib
import yaml
from PIL import Image

matplotlib.use('Agg')

ROOT = Path(__file__).parents[2]
RECORDS, PAGE = ROOT / 'docs/evidence', ROOT / 'docs/evidence.md'
TUNING = RECORDS / 'learning_rate'
TOOL = 'tools/analysis/evidence_page.py'
# by the end of a config's name
GROUPS = {'_15e_cifar100': 'CIFAR-100, 15 epochs', '_b128_cifar100': 'CIFAR-100, 180 epochs',
          '_b128_cifar10': 'CIFAR-10, 180 epochs', '_20e_bccd': 'BCCD, 20 epochs'}


class System(NamedTuple):
    """The runs of a config, by seed."""

    name: str
    rank: int
    depth: str
    config: str
    records: List[Record]

    @property
    def finished(self) -> List[Record]:
        return [record for record in self.records if record.status == 'finished']


def system_of(config: str, end: str, records: List[Record]) -> System:
    """'DLA-L-20' of ``dla_l20`` and of ``faster_rcnn_dla_l20``, 'DLA-L-20 split-r4' of its form."""
    stem = Path(config).stem.removesuffix(end)
    match = re.fullmatch(r'(?:faster_rcnn_)?([a-z_]+?)(?:-r)?(\d+)(?:_(split-.+))?', stem)
    if not match or match[1] not in NAMES:
        raise UserError(f'{stem} is no system of mmdla/engine/figure_style.py: name it after one.')
    name = f'{NAMES[match[1]]}-{match[2]}' + (f' {match[3]}' if match[3] else '')
    return System(name, [*NAMES].index(match[1]), match[2], config, records)


def groups_of(records: List[Record]) -> Dict[str, List[System]]:
    """The systems of each group that has runs, in the order of NAMES; runs of no group are left out."""
    groups: Dict[str, List[System]] = {}
    for config, each in by_config(records).items():
        end = next((end for end in GROUPS if Path(config).stem.endswith(end)), None)
        if end:
            groups.setdefault(end, []).append(system_of(config, end, each))
    return {end: sorted(groups[end], key=lambda system: (system.rank, system.name))
            for end in GROUPS if end in groups}


def parameters() -> Dict[str, int]:
    """By config, from the metafiles."""
    return {model['Config']: model['Metadata']['Parameters']
            for path in (ROOT / 'configs').rglob('metafile.yml')
            for model in yaml.safe_load(path.read_text())['Models']}


def printed() -> Dict[str, str]:
    """The DLA paper's top-1 after 180 epochs, by system and set as in a config's name."""
    tables = yaml.safe_load((ROOT / 'tools/analysis/paper_tables.yml').read_text())['tables']
    return {Path(row['config']).stem.replace('_b128', ''): row['printed']['top1']
            for table in tables for row in table['rows']
            if row['config'].startswith('cifar/') and 'top1' in row.get('printed', ())}


def paper(stem: str, data: str, papers: Dict[str, str]) -> str:
    """What the paper prints of a system, or else of its split form."""
    for name, value in papers.items():
        match = re.fullmatch(rf'{stem}(_split-.+)?_{data}', name)
        if match:
            return f'{value} ({match[1][1:]})' if match[1] else value
    return ''


def gain(values: List[float], plain: List[float]) -> str:
    """The difference of two means and, of several seeds each, its standard error."""
    if not values or not plain:
        return ''
    text = f'{mean(values) - mean(plain):+.2f}'
    if min(len(values), len(plain)) > 1:
        text += f' ± {sqrt(variance(values) / len(values) + variance(plain) / len(plain)):.2f}'
    return text


def row(cells: Iterable[object]) -> str:
    return '| ' + ' | '.join(str(cell).replace('|', '/') for cell in cells) + ' |'


def table(end: str, systems: List[System]) -> str:
    measure = next((r.measure for s in systems for r in s.records if r.metric), None)
    name = measure.name if measure else 'result'
    counts, papers, data = parameters(), printed(), end.rpartition('_')[2]
    printed_of = {s.config: paper(Path(s.config).stem.removesuffix(end), data, papers) for s in systems}
    plain: Dict[str, List[float]] = {}
    for system in systems:
        if system.rank == 0:
            plain[system.depth] = [record.result for record in system.finished]
    heads = ['system', 'parameters', f'{name}, mean ± deviation', 'seeds', f'{name} of each seed',
             f'over {[*NAMES.values()][0]}, ± standard error', 'training an epoch',
             *(['the DLA paper, 180 epochs, five seeds'] if any(printed_of.values()) else [])]
    lines = [row(heads), row(['---'] * len(heads))]
    for system in systems:
        values = [record.result for record in system.finished]
        seconds = [record.seconds_per_epoch for record in system.finished]
        places = sorted({attempt['device'] for record in system.finished for attempt in record.attempts
                         if attempt.get('end') != LOST})
        lines.append(row([
            f'[{system.name}](../{system.config})',
            f'{counts[system.config]:,}' if system.config in counts else '',
            spread(values, measure), len(values), ', '.join(map(measure.text, values)) if values else '',
            gain(values, plain.get(system.depth, [])) if system.rank else '',
            f'{min(seconds):.0f} s, {", ".join(places)}' if seconds else '',
            *([printed_of[system.config]] if any(printed_of.values()) else [])]))
    return '\n'.join(lines)


def listed(records: List[Record]) -> str:
    """Every run that was started, and every attempt at it that broke off or was stopped."""
    lines = [row(['run', 'seed', 'where it stands', 'earlier attempts']), row(['---'] * 4)]
    for record in records:
        earlier = '; '.join(attempt.get('error') or attempt.get('end', 'lost')
                            for attempt in record.attempts[:-1])
        lines.append(row([Path(record.config).stem, record.seed, record, earlier]))
    return '\n'.join(lines)


def rates(records: List[Record]) -> str:
    """How the systems did on the held-out images with each learning rate."""
    epochs = range(1, max(record.epochs for record in records) + 1)
    lines = [row(['learning rate', 'system', *(f'epoch {epoch}' for epoch in epochs), 'run']),
             row(['---'] * (len(epochs) + 3))]

    def rate(record: Record) -> float:
        return float(next(text.partition('=')[2] for text in record.options if '.lr=' in text))

    for record in sorted(records, key=rate):
        [[system]] = groups_of([record]).values()
        values = {epoch: f'{value:.2f}' for epoch, value in record.val}
        lines.append(row([rate(record), system.name,
                          *(values.get(epoch, '') for epoch in epochs), record.status]))
    return '\n'.join(lines)


def picture(end: str) -> Path:
    return ROOT / 'docs/figures' / f'evidence{end}.png'


def render(records: List[Record], tuning: List[Record]) -> str:
    """What stands between the marks of the page."""
    parts = []
    for end, systems in groups_of(records).items():
        parts += [f'## {GROUPS[end]}', table(end, systems)]
        if any(system.finished for system in systems):
            parts.append(f'![Curves, {GROUPS[end]}](figures/{picture(end).name})')
    parts += ['## All runs', listed(records)]
    if tuning:
        parts += ['## How the learning rate was chosen', rates(tuning)]
    return '\n\n'.join(['', *parts, ''])


def source(systems: List[System]) -> str:
    """A digest of what a figure shows, which the figure carries."""
    shown = [[system.name, record.loss, record.val] for system in systems for record in system.finished]
    return sha1(json.dumps(shown).encode()).hexdigest()


def stale(end: str, systems: List[System]) -> bool:
    """Whether a figure is missing, or of other runs."""
    path = picture(end)
    return not path.is_file() or Image.open(path).info.get('Source') != source(systems)


def plot(end: str, systems: List[System]) -> None:
    """Training loss and metric by epoch: the mean of the seeds, and a band from least to most."""
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(1, 2, figsize=(10, 4))
    for system in (system for system in systems if system.finished):
        measure = system.finished[0].measure
        for axis, key, scale in zip(axes, ('loss', 'val'), (1, measure.factor)):
            runs = [dict(getattr(record, key)) for record in system.finished]
            epochs = sorted(set.intersection(*map(set, runs)))
            values = [[scale * run[epoch] for run in runs] for epoch in epochs]
            look = style(system.name)
            line, = axis.plot(epochs, [mean(each) for each in values], **look,
                              linestyle='--' if 'split' in system.name else '-')
            axis.fill_between(epochs, [min(each) for each in values], [max(each) for each in values],
                              color=line.get_color(), alpha=0.2, linewidth=0)
    axes[0].set(xlabel='epoch', ylabel='training loss')
    axes[1].set(xlabel='epoch', ylabel=f'validation {measure.name} (%)')
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.legend()
    figure.tight_layout()
    write_figure(picture(end), figure, Source=source(systems))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', action='store_true', help='write nothing; fail if stale')
    args = parser.parse_args()
    records = read_records(RECORDS)
    text = with_part(PAGE, TOOL, render(records, read_records(TUNING)))
    shown = {end: systems for end, systems in groups_of(records).items()
             if any(system.finished for system in systems)}
    if args.check:
        if text != PAGE.read_text() or any(stale(end, systems) for end, systems in shown.items()):
            raise UserError(f'{PAGE} or a figure of it is not what the records say: run python {TOOL}.')
        return
    for end, systems in shown.items():
        plot(end, systems)
    write_text(PAGE, text)


if __name__ == '__main__':
    cli.run(main)
