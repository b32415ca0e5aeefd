"""Draws what tools/analysis/benchmark.py wrote with --json.

    python tools/analysis/plot_benchmark.py docs/benchmarks/cpu.json --out ratios.png
    python tools/analysis/plot_benchmark.py docs/benchmarks/depth.json --against depth --out depth.png
    python tools/analysis/plot_benchmark.py docs/benchmarks/size.json --against pixels --out size.png

Without --against: time as a ratio to the plain ResNet, with the quartiles. With it: time and memory
of training steps as they grow with the depth or with the pixels of an image.
"""
import argparse
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import List

from mmdla.engine import cli
from mmdla.engine.figure_style import style
from mmdla.errors import UserError, reason
from mmdla.files import FIGURES, check_output, write_figure

import matplotlib

matplotlib.use('Agg')


def read(paths: List[str]) -> List[dict]:
    """All rows, each with its settings, its system and its depth."""
    rows = []
    for path in paths:
        try:
            for run in json.loads(Path(path).read_text()):
                for row in run['rows']:
                    system, depth = re.fullmatch(r'([a-z_]+)(\d+)', row['model']).groups()
                    rows.append({**run['settings'], **row, 'system': system, 'depth': int(depth)})
        except (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError) as error:
            raise UserError(f'{path} cannot be read ({reason(error)}): give a file that benchmark.py '
                            'wrote with --json.') from error
    return rows


def title(row: dict) -> str:
    size = 'x'.join(map(str, row['shape']))
    name = f'{row["task"]} {size}, batch {row["batch"]}, {row["mode"]}'
    extras = [row['implementation'] or '', 'bf16' * row['amp'], 'NHWC' * row['channels_last'],
              'compiled' * row['compile']]
    return ', '.join([name, *filter(None, extras)])


def plot_ratios(rows: List[dict], out: str) -> None:
    import matplotlib.pyplot as plt
    groups = defaultdict(list)
    for row in rows:
        if row['system'] != 'resnet':
            groups[title(row)].append(row)
    bars = [(f'{style(row["system"])["label"]}-{row["depth"]}: {name}', row)
            for name, group in groups.items() for row in group][::-1]
    figure, axis = plt.subplots(figsize=(9, 1 + 0.3 * len(bars)))
    for place, (_, row) in enumerate(bars):
        low, high = row['ratio_quartiles']
        axis.barh(place, row['ratio'], color=style(row['system'])['color'],
                  xerr=[[max(row['ratio'] - low, 0)], [max(high - row['ratio'], 0)]])
    axis.set_yticks(range(len(bars)), [name for name, _ in bars], fontsize=8)
    axis.axvline(1, color='k', linewidth=0.8)
    axis.set_xlabel('time / plain ResNet (median of rounds, quartiles)')
    figure.tight_layout()
    write_figure(out, figure)


def plot_growth(rows: List[dict], against: str, out: str) -> None:
    import matplotlib.pyplot as plt
    lines = defaultdict(list)
    for row in rows:
        if row['mode'] == 'train':
            x = row['depth'] if against == 'depth' else row['shape'][0] * row['shape'][1]
            lines[row['system']].append((x, row['ms'], row['memory_mib']))
    if len({(row['task'], row['batch'], row['implementation']) for row in rows}) > 1:
        raise UserError('these files hold several tasks, batches or implementations: give one.')
    if not lines:
        raise UserError('these files have no training steps: run benchmark.py with --mode train.')
    figure, axes = plt.subplots(1, 2, figsize=(10, 4))
    for system, points in lines.items():
        x, *columns = zip(*sorted(points))
        for axis, column in zip(axes, columns):
            axis.plot(x, column, marker='o', **style(system))
    for axis, label in zip(axes, ('ms of a training step', 'memory, MiB')):
        axis.set(xlabel=against, ylabel=label, xlim=(0, None), ylim=(0, None))
        axis.grid(alpha=0.3)
        axis.legend()
    figure.tight_layout()
    write_figure(out, figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('files', nargs='+', metavar='FILE.json')
    parser.add_argument('--out', required=True, metavar='FILE.png')
    parser.add_argument('--against', choices=('depth', 'pixels'))
    args = parser.parse_args()
    check_output(args.out, *FIGURES)
    rows = read(args.files)
    if args.against:
        plot_growth(rows, args.against, args.out)
    else:
        plot_ratios(rows, args.out)
    print(f'wrote {args.out}')


if __name__ == '__main__':
    cli.run(main)
