"""Print the metrics of several runs side by side, from the metrics.json of tools/test.py.

    python tools/analysis/compare_metrics.py NAME=work_dirs/RUN/metrics.json ...
"""
import argparse
import json

from mmdla.engine import cli
from mmdla.errors import UserError, reason


def read(run: str) -> tuple:
    """Name and numbers of ``NAME=FILE``."""
    name, mark, path = run.partition('=')
    if not (name and mark):
        raise UserError(f'{run} is not of the form NAME=metrics.json.')
    try:
        with open(path) as file:
            metrics = dict(json.load(file))
    except (OSError, RecursionError, TypeError, ValueError) as error:
        raise UserError(f'{path} is no metrics.json of tools/test.py ({reason(error)}).') from error
    return name, {key.split('/')[-1]: value for key, value in metrics.items()
                  if isinstance(value, (int, float))}


def table(runs: dict) -> str:
    """A line for each metric and a column for each run."""
    names = list(dict.fromkeys(key for metrics in runs.values() for key in metrics))
    rows = [['', *runs], *([name, *(f'{m[name]:.3f}' if name in m else '-' for m in runs.values())]
                           for name in names)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return '\n'.join(
        '  '.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('runs', nargs='+', metavar='NAME=FILE')
    runs = {}
    for run in parser.parse_args().runs:
        name, metrics = read(run)
        if name in runs:
            raise UserError(f'there are two runs of the name {name}: give each its own.')
        runs[name] = metrics
    print(table(runs))


if __name__ == '__main__':
    cli.run(main)
