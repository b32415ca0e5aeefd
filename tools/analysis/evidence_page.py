"""The tables and figures of docs/evidence.md, from the records of tools/evidence.py.

    python tools/analysis/evidence_page.py            # after new runs
    python tools/analysis/evidence_page.py --check    # writes nothing, fails if the tables are stale

Means and deviations are of finished runs; the list has every run that was started.
"""
import argparse
import json
import re
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Dict, List, NamedTuple

from mmdla.engine import cli
from mmdla.engine.figure_style import NAMES, style
from mmdla.errors import UserError
from mmdla.files import with_part, write_figure, write_text

import matplotlib
import yaml

matplotlib.use('Agg')

ROOT = Path(__file__).parents[2]
RECORDS, PAGE = ROOT / 'docs/evidence', ROOT / 'docs/evidence.md'
TOOL = 'tools/analysis/evidence_page.py'
# by the end of a config's name: title, what is measured, and its factor to per cent
GROUPS = {
    '_15e_cifar100': ('CIFAR-100, 15 epochs', 'top-1', 1),
    '_b128_cifar100': ('CIFAR-100, 180 epochs', 'top-1', 1),
    '_20e_bccd': ('BCCD, 20 epochs', 'box AP', 100)}


class System(NamedTuple):
    """The runs of a config, by seed."""

    name: str
    config: str
    runs: List[dict]

    @property
    def finished(self) -> List[dict]:
        return [run for run in self.runs if run['status'] == 'finished']


def system_name(stem: str) -> str:
    """'DLA-L-20' of ``dla_l20`` and of ``faster_rcnn_dla_l20``."""
    match = re.fullmatch(r'(?:faster_rcnn_)?([a-z_]+?)(?:-r)?(\d+)', stem)
    if not match or match[1] not in NAMES:
        raise UserError(f'{stem} is no system of mmdla/engine/figure_style.py: name it after one.')
    return f'{NAMES[match[1]]}-{match[2]}'


def read_groups(folder: Path = RECORDS) -> Dict[str, List[System]]:
    """The systems of each group that has runs, in the order of NAMES."""
    groups: Dict[str, Dict[str, List[dict]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.glob('*.json')):
        run = json.loads(path.read_text())
        end = next((end for end in GROUPS if Path(run['config']).stem.endswith(end)), None)
        if end is None:
            raise UserError(f'{path} is of no group: add the end of its name to GROUPS of {TOOL}.')
        groups[end][run['config']].append(run)
    order = list(NAMES.values())
    return {end: sorted((System(system_name(Path(config).stem.removesuffix(end)), config, runs)
                         for config, runs in groups[end].items()),
                        key=lambda system: order.index(system.name.rpartition('-')[0]))
            for end in GROUPS if end in groups}


def parameters() -> Dict[str, int]:
    """By config, from the metafiles."""
    return {model['Config']: model['Metadata']['Parameters']
            for path in (ROOT / 'configs').rglob('metafile.yml')
            for model in yaml.safe_load(path.read_text())['Models']}


def printed() -> Dict[str, str]:
    """The papers' top-1 on CIFAR-100, by system."""
    tables = yaml.safe_load((ROOT / 'tools/analysis/paper_tables.yml').read_text())['tables']
    return {row['system']: row['printed']['top1'] for table in tables for row in table['rows']
            if row['config'].endswith('_cifar100.py') and 'top1' in row.get('printed', ())}


def final(run: dict, factor: float) -> float:
    return factor * run['val'][-1][1]


def spread(values: List[float]) -> str:
    """Mean and, of several, sample deviation."""
    if not values:
        return ''
    return f'{mean(values):.2f}' + (f' ± {stdev(values):.2f}' if len(values) > 1 else '')


def table(end: str, systems: List[System]) -> str:
    title, metric, factor = GROUPS[end]
    counts, papers = parameters(), printed() if end.endswith('cifar100') else {}
    rows = [['system', 'parameters', f'{metric}, mean ± deviation', 'seeds', f'{metric} of each seed',
             'training an epoch', *(['the papers, 180 epochs'] if papers else [])]]
    rows.append(['---'] * len(rows[0]))
    for system in systems:
        values = [final(run, factor) for run in system.finished]
        seconds = [run['seconds_per_epoch'] for run in system.finished]
        rows.append([f'[{system.name}](../{system.config})', f'{counts[system.config]:,}',
                     spread(values), str(len(values)), ', '.join(f'{value:.2f}' for value in values),
                     f'{mean(seconds):.0f} s' if seconds else '',
                     *([papers.get(system.name, '')] if papers else [])])
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)


def listed(groups: Dict[str, List[System]]) -> str:
    """Every run that was started."""
    rows = ['| run | seed | status | last epoch | result |', '| --- | --- | --- | --- | --- |']
    for end, systems in groups.items():
        _, metric, factor = GROUPS[end]
        for system in systems:
            for run in sorted(system.runs, key=lambda run: run['seed']):
                result = f'{metric} {final(run, factor):.2f}' if run['val'] else run.get('error', '')
                last = f'{run["val"][-1][0] if run["val"] else 0} of {run["epochs"]}'
                rows.append(f'| {Path(system.config).stem} | {run["seed"]} | {run["status"]} | {last} | '
                            f'{result} |')
    return '\n'.join(rows)


def picture(end: str) -> Path:
    return ROOT / 'docs/figures' / f'evidence{end}.png'


def render(groups: Dict[str, List[System]]) -> str:
    """What stands between the marks of the page."""
    parts = []
    for end, systems in groups.items():
        title, metric, _ = GROUPS[end]
        parts += [f'## {title}', table(end, systems)]
        if any(system.finished for system in systems):
            parts.append(f'![Curves, {title}](figures/{picture(end).name})')
    return '\n\n'.join(['', *parts, '## All runs', listed(groups), ''])


def plot(end: str, systems: List[System]) -> None:
    """Training loss and metric by epoch: the mean of the seeds, and a band from least to most."""
    import matplotlib.pyplot as plt
    _, metric, factor = GROUPS[end]
    figure, axes = plt.subplots(1, 2, figsize=(10, 4))
    for system in (system for system in systems if system.finished):
        for axis, key, scale in zip(axes, ('loss', 'val'), (1, factor)):
            curves = [dict(run[key]) for run in system.finished]
            epochs = sorted(set.intersection(*map(set, curves)))
            values = [[scale * curve[epoch] for curve in curves] for epoch in epochs]
            look = style(system.name)
            axis.plot(epochs, [mean(each) for each in values], **look)
            axis.fill_between(epochs, [min(each) for each in values], [max(each) for each in values],
                              color=look['color'], alpha=0.2, linewidth=0)
    axes[0].set(xlabel='epoch', ylabel='training loss')
    axes[1].set(xlabel='epoch', ylabel=f'validation {metric} (%)')
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.legend()
    figure.tight_layout()
    write_figure(picture(end), figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', action='store_true', help='write nothing; fail if the page is stale')
    args = parser.parse_args()
    groups = read_groups()
    text = with_part(PAGE, TOOL, render(groups))
    if args.check:
        if text != PAGE.read_text():
            raise UserError(f'{PAGE} is not what the records say: run python {TOOL}.')
        return
    for end, systems in groups.items():
        if any(system.finished for system in systems):
            plot(end, systems)
    write_text(PAGE, text)


if __name__ == '__main__':
    cli.run(main)
