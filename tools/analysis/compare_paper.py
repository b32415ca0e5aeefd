"""The tables of the DLA paper beside what our configs are and what your runs reached.

    python tools/analysis/compare_paper.py                          # tables 1, 2, 4, 5 and 6
    python tools/analysis/compare_paper.py --table 3                # detectors: some minutes
    python tools/analysis/compare_paper.py --runs work_dirs --markdown tables.md

Builds every row's config (paper_tables.yml), counts its parameters and FLOPs (see get_flops.py) and
says whether the printed count is that count, or why not. With --runs, the last validation of each
finished run in DIR/NAME and DIR/NAME_seed0, DIR/NAME_seed1, ... is filled in, NAME being the
config's: the mean, and the standard deviation of several.
"""
import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from typing import Dict, List, NamedTuple, Optional

from mmdla.engine import cli
from mmdla.engine.complexity import Complexity, complexity, usual_shape
from mmdla.engine.work_dir import finished_run
from mmdla.errors import UserError
from mmdla.files import check_output, write_text

import torch
import yaml

HERE = Path(__file__)
CONFIGS = HERE.parents[2] / 'configs'
TABLES = ('1', '2', '3', '4', '5', '6')
UNIT = Decimal(2**20) / 10**6
METRICS = dict(
    top1=('accuracy/top1', 1), top5=('accuracy/top5', 1), box=('coco/bbox_mAP', 100),
    mask=('coco/segm_mAP', 100))
FITS = {
    'all': lambda c: c.parameters,
    'trained': lambda c: c.trained,
    'trained_and_plugins': lambda c: c.trained + c.frozen_plugins,
    'unit': lambda c: c.parameters * UNIT,
    'unit_with_statistics': lambda c: (c.parameters + c.statistics) * UNIT,
    'cifar10': lambda c: c.parameters,
}
INTRODUCTION = '''# The papers' tables

Written by `python tools/analysis/compare_paper.py {arguments}`; every count is of the named config,
built here.
"Printed" and "paper" are the DLA paper's figures, where we know them for certain; an empty
cell is a figure that we do not know or that is not there. "Yours" is the last validation of your own
finished runs. Parameters; FLOPs, one multiplication with its addition, in billions, of one image of
224 x 224 (ImageNet), 32 x 32 (CIFAR) or 800 x 1280 pixels (COCO, 1000 proposals) by mmengine's
analysis, elementwise products and channel means counted too. "Match" means that our count, rounded to
the printed digits (millions), is the printed one.
'''


class Count(NamedTuple):
    """A config to be counted."""

    config: str
    flops: bool


def count(task: Count) -> Complexity:
    torch.set_num_threads(1)
    cfg = cli.read_config(str(CONFIGS / task.config))
    return complexity(cfg, usual_shape(cfg) if task.flops else None)


def count_all(tables: List[dict]) -> Dict[Count, Complexity]:
    """Every config once, in as many processes as there are CPU cores."""
    rows = [(row, table['flops']) for table in tables for row in table['rows']]
    tasks = [Count(row['config'], flops) for row, flops in rows]
    tasks += [Count(row['other'], False) for row, _ in rows if 'other' in row]
    tasks = list(dict.fromkeys(tasks))
    with ProcessPoolExecutor(mp_context=get_context('spawn')) as pool:
        return dict(zip(tasks, pool.map(count, tasks)))


def rounds_to(value, printed: str) -> bool:
    """Whether a count is the printed one in millions; half a digit may have gone either way."""
    millions = Decimal(value) / 10**6
    return any(millions.quantize(Decimal(printed), rounding) == Decimal(printed)
               for rounding in (ROUND_HALF_UP, ROUND_HALF_EVEN))


def verdict(row: dict, counted: Complexity, other: Optional[Complexity], reasons: dict) -> str:
    """What the printed count is."""
    printed, fits = row.get('printed', {}).get('params'), row.get('fits', 'all')
    reason = reasons.get(row.get('why', fits), '')
    if printed is None:
        return reason
    value = FITS[fits](other or counted)
    if not rounds_to(value, printed):
        return f'**differs**: {reason or "not explained"}'
    if fits == 'all':
        return f'match{"; " if reason else ""}{reason}'
    if not rounds_to(counted.parameters, printed):
        return f'differs, explained: {reason} ({Decimal(value) / 10**6:.2f})'
    return f'match; {reason}'


def beside(printed: Optional[str], flops: int) -> str:
    """Printed FLOPs in billions, and how far ours are from them."""
    return f'{printed} (ours {flops / 1e7 / float(printed) - 100:+.1f} %)' if printed else ''


def network(model: dict) -> list:
    """What makes the network of a config's model."""
    backbone = {key: value for key, value in model['backbone'].items() if key != 'init_cfg'}
    return json.loads(json.dumps([model.get('type'), backbone], default=str, skipkeys=True))


def reached(runs: Optional[str], row: dict, metric: str) -> str:
    """Mean and standard deviation of a metric over a row's work dirs, in per cent."""
    if not runs:
        return ''
    name, values = Path(row['config']).stem, []
    key, scale = METRICS[metric]
    for folder in (Path(runs) / name, *sorted(Path(runs).glob(f'{name}_seed*'))):
        run = finished_run(str(folder), key)
        if run and network(run.model) != network(cli.read_config(str(CONFIGS / row['config'])).model):
            print(f'note: {folder} is left out: its network is not that of configs/{row["config"]}.')
        elif run:
            values.append(run.value * scale)
    if len(values) < 2:
        return f'{values[0]:.2f}' if values else ''
    return f'{mean(values):.2f} ± {stdev(values):.2f} ({len(values)})'


def markdown(table: dict, counts: Dict[Count, Complexity], reasons: dict, runs: Optional[str]) -> str:
    """One table."""
    detection = table['table'] == 3
    metrics = [m for m in METRICS if any(m in row.get('printed', {}) for row in table['rows'])]
    metrics = metrics or ['top1']
    header = ['system', 'config', 'parameters', *(['trained'] if detection else []),
              'parameters, printed', 'verdict', *(['FLOPs', 'FLOPs, printed'] if table['flops'] else [])]
    for metric in metrics:
        header += [f'{metric}, paper', f'{metric}, yours']
    lines = [header, ['---'] * len(header)]
    for row in table['rows']:
        counted = counts[Count(row['config'], table['flops'])]
        other = counts[Count(row['other'], False)] if 'other' in row else None
        printed = row.get('printed', {})
        cells = [row['system'], f'`{row["config"]}`', f'{counted.parameters:,}',
                 *([f'{counted.trained:,}'] if detection else []), printed.get('params', ''),
                 verdict(row, counted, other, reasons)]
        if table['flops']:
            cells += [f'{counted.flops / 1e9:.3f}', beside(printed.get('flops'), counted.flops)]
        for metric in metrics:
            cells += [printed.get(metric, ''), reached(runs, row, metric)]
        lines.append(cells)
    body = '\n'.join(f'| {" | ".join(line)} |' for line in lines)
    notes = ''.join(f'\n{note}\n' for note in table.get('notes', ()))
    return f'## Table {table["table"]}: {table["title"]}\n\n{body}\n{notes}'


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--table', nargs='+', choices=TABLES, default=['1', '2', '4', '5', '6'],
                        help='numbers of tables (default: all but 3)')
    parser.add_argument('--runs', metavar='DIR', help='folder of work dirs to fill in results from')
    parser.add_argument('--markdown', metavar='OUT', help='file to write to (default: the screen alone)')
    args = parser.parse_args()
    if args.runs and not Path(args.runs).is_dir():
        raise UserError(f'folder {args.runs} does not exist: give the folder that holds your work dirs.')
    if args.markdown:
        check_output(args.markdown)
    data = yaml.safe_load(HERE.with_name('paper_tables.yml').read_text())
    tables = [table for table in data['tables'] if str(table['table']) in args.table]
    counts = count_all(tables)
    render = partial(markdown, counts=counts, reasons=data['reasons'], runs=args.runs)
    arguments = '--table ' + ' '.join(args.table)
    text = '\n'.join([INTRODUCTION.format(arguments=arguments), *map(render, tables)])
    print(text)
    if args.markdown:
        write_text(args.markdown, text)


if __name__ == '__main__':
    cli.run(main)
