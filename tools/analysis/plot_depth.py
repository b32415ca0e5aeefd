"""Accuracy against depth (DLA paper, Figure 4), from your own runs.

    python tools/analysis/plot_depth.py work_dirs --out depth.png [--json depth.json]
    python tools/analysis/plot_depth.py work_dirs/{resnet,dla_l}*_cifar100* --out depth.png

Takes work dirs, and every work dir that is directly in a folder. A run's system and depth come from
the config that it wrote there: cifar/dla_l56_b128_cifar100.py is the system dla_l_b128_cifar100 at
depth 56, cifar/se-r56_b128_cifar100.py se_b128_cifar100. Its accuracy is the last validation's of a
finished run; that of several runs of one config (NAME_seed0, NAME_seed1, ...) is drawn as their mean
with the standard deviation.
"""
import argparse
import json
import re
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Dict, List

from mmdla.engine import cli
from mmdla.engine.figure_style import style
from mmdla.engine.work_dir import METRICS, finished_run
from mmdla.errors import UserError
from mmdla.files import FIGURES, check_output, write_figure, write_text

import matplotlib

matplotlib.use('Agg')
Results = Dict[str, Dict[int, List[float]]]


def read(folders: List[str], metric: str) -> Results:
    """The metric of all runs, by system and depth."""
    results, networks = defaultdict(lambda: defaultdict(list)), {}
    for folder in map(Path, folders):
        for work_dir in (folder, *sorted(folder.glob('*/'))):
            run = finished_run(str(work_dir), metric)
            depth = run and run.model['backbone'].get('depth')
            if not isinstance(depth, int):
                continue
            system = re.sub(f'(-r)?{depth}', '', run.name, count=1)
            backbone = str({**run.model['backbone'], 'init_cfg': None})
            if networks.setdefault((system, depth), backbone) == backbone:
                results[system][depth].append(run.value)
            else:
                print(f'note: {work_dir} is left out: its backbone is not that of the first run of '
                      f'{run.name}.')
    if not results:
        raise UserError(f'no run with {metric} in {", ".join(folders)}: give work dirs of '
                        'tools/train.py, or the folder that holds them, and --metric if it is another.')
    return {system: dict(sorted(depths.items())) for system, depths in sorted(results.items())}


def plot(results: Results, metric: str, out: str) -> None:
    import matplotlib.pyplot as plt
    figure, axis = plt.subplots(figsize=(6, 4))
    for system, depths in results.items():
        deviations = [stdev(values) if len(values) > 1 else 0 for values in depths.values()]
        axis.errorbar(list(depths), [mean(values) for values in depths.values()], yerr=deviations,
                      marker='o', capsize=3, **style(system))
    ticks = sorted({depth for depths in results.values() for depth in depths})
    axis.set(xlabel='depth', ylabel=metric, xticks=ticks)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.tight_layout()
    write_figure(out, figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folders', nargs='+', metavar='WORK_DIR')
    parser.add_argument('--metric', default=METRICS[0],
                        help=f'such as {" or ".join(METRICS)} (default: %(default)s)')
    parser.add_argument('--out', required=True, metavar='FILE.png', help='picture to write')
    parser.add_argument('--json', metavar='FILE.json', help='numbers to write')
    args = parser.parse_args()
    check_output(args.out, *FIGURES)
    if args.json:
        check_output(args.json)
    results = read(args.folders, args.metric)
    plot(results, args.metric, args.out)
    if args.json:
        write_text(args.json, json.dumps(results))
    print('| system | depth | runs | mean | deviation |\n| --- | --- | --- | --- | --- |')
    for system, depths in results.items():
        for depth, values in depths.items():
            deviation = f'{stdev(values):.2f}' if len(values) > 1 else ''
            print(f'| {system} | {depth} | {len(values)} | {mean(values):.2f} | {deviation} |')


if __name__ == '__main__':
    cli.run(main)
