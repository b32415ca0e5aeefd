"""Training loss and validation accuracy (or AP) of several runs, as a picture and as numbers.

    python tools/analysis/plot_curves.py ResNet=work_dirs/a DLA-L=work_dirs/b --out curves.png

Reads the scalars.json that mmengine writes to a work dir, of all its restarts in order. Prints the
validation metric of each epoch as a table in Markdown, and writes all numbers to --json.
"""
import argparse
import json

from mmdla.engine import cli
from mmdla.engine.figure_style import style
from mmdla.engine.work_dir import has_numbers, measured, read_scalars
from mmdla.errors import UserError
from mmdla.files import FIGURES, check_output, write_figure, write_text

import matplotlib

matplotlib.use('Agg')


def read_run(work_dir: str) -> dict:
    """``train``: [epoch, loss] pairs with the epoch as a fraction, ``val``: [epoch, metric] pairs.

    Raises:
        UserError: If the work dir has no log.
    """
    lines = read_scalars(work_dir)
    train = [line for line in lines if has_numbers(line, 'loss', 'epoch', 'step') and line['epoch'] > 0]
    if not train:
        raise UserError(f'{work_dir} has no */vis_data/scalars.json with losses by epoch: give the work '
                        'dir of a run of tools/train.py.')
    metric, val = measured(lines)
    ends = {}
    for line in train:
        ends[line['epoch']] = max(line['step'], ends.get(line['epoch'], 0))
    length = max(ends.values()) / max(ends)
    losses = {line['step']: line['loss'] for line in train}
    return dict(metric=metric, train=[[step / length, losses[step]] for step in sorted(losses)], val=val)


def table(runs: dict) -> str:
    """The validation metric of each epoch, a column for each run."""
    epochs = sorted({epoch for run in runs.values() for epoch, _ in run['val']})
    rows = [['epoch', *runs], ['---'] * (len(runs) + 1)]
    for epoch in epochs:
        values = (dict(run['val']).get(epoch) for run in runs.values())
        rows.append([str(epoch), *('' if v is None else f'{v:.4g}' for v in values)])
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)


def plot(runs: dict, out: str) -> None:
    import matplotlib.pyplot as plt
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    for name, run in runs.items():
        left.plot(*zip(*run['train']), **style(name))
        if run['val']:
            right.plot(*zip(*run['val']), marker='o', **style(name))
    metric = next((run['metric'] for run in runs.values() if run['metric']), 'metric')
    left.set(xlabel='epoch', ylabel='training loss')
    right.set(xlabel='epoch', ylabel=f'validation {metric}')
    for axis in (left, right):
        axis.grid(alpha=0.3)
        axis.legend()
    figure.tight_layout()
    write_figure(out, figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('runs', nargs='+', metavar='NAME=WORK_DIR')
    parser.add_argument('--out', required=True, metavar='FILE.png', help='picture to write')
    parser.add_argument('--json', metavar='FILE.json', help='numbers to write')
    args = parser.parse_args()
    check_output(args.out, *FIGURES)
    if args.json:
        check_output(args.json)
    runs = {}
    for item in args.runs:
        name, equals, work_dir = item.partition('=')
        if not equals:
            raise UserError(f'{item} is no NAME=WORK_DIR: put a name and = in front of the folder.')
        if name in runs:
            raise UserError(f'there are two runs of the name {name}: give each its own.')
        runs[name] = read_run(work_dir)
    plot(runs, args.out)
    if args.json:
        write_text(args.json, json.dumps(runs))
    print(table(runs))


if __name__ == '__main__':
    cli.run(main)
