"""Check and time layer attention on this machine.

    python -m mmdla.doctor          # prints what is installed, checked and timed
    python -m mmdla.doctor --json   # the same as one JSON object, for a bug report

On a GPU the fastest implementation that is correct is kept in a small file, and used from then on
(docs/doctor.md). Exits with 1 if anything is wrong.
"""
import argparse
import json
import logging
import sys
from contextlib import nullcontext, redirect_stdout
from typing import Iterable, Optional

import torch

from mmdla.errors import UserError, run
from mmdla.ops import tuned

from . import report as texts
from .checks import Check, check_all, usual_cases
from .circumstances import check_gpu
from .environment import environment
from .networks import check_networks
from .timing import measure_all, winner


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m mmdla.doctor', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', action='store_true', help='print one JSON object and nothing else')
    args, unknown = parser.parse_known_args()
    if unknown:
        raise UserError(f'{" ".join(unknown)} is no argument of python -m mmdla.doctor: it takes --json '
                        'or none.')
    return args


def examine(how: str, device: torch.device) -> Iterable[Check]:
    """All checks of an implementation on a device."""
    yield from check_all(how, device, usual_cases(device))
    yield from check_networks(how, device)
    if device.type == 'cuda':
        yield from check_gpu(how, device)
    else:
        what = 'Triton' if torch.cuda.is_available() else 'GPU'
        yield Check('all', 'on a GPU', unchecked=f'the Triton kernels: there is no {what}')


def examined(show) -> texts.Report:
    """Look at everything; ``show`` is called with each part as it is known."""
    found = environment()
    show(texts.of_environment(found))
    on_gpu = torch.cuda.is_available() and found['triton'] is not None
    device = torch.device('cuda', torch.cuda.current_device()) if on_gpu else torch.device('cpu')
    how = 'triton' if on_gpu else 'kernels' if found['cpu_kernels'] == 'built' else 'folded'
    report = texts.Report(found, how, list(examine(how, device)), [], None)
    show(texts.of_checks(report))
    report.times.extend(measure_all(['reference', how], device))
    show(texts.of_times(report.times))
    if on_gpu:
        report = report._replace(fastest=keep(report, device))
    show(texts.of_end(report))
    return report


def keep(report: texts.Report, device: torch.device) -> Optional[str]:
    """Keep the fastest implementation for a GPU, the reference if Triton's is wrong; None if unknown."""
    wrong = any(check.failure for check in report.checks)
    name = 'reference' if wrong else winner(report.times)
    if name:
        tuned.keep(device, name)
    return name


def main() -> None:
    args = parse_args()
    logging.disable(logging.WARNING)

    def show(lines: Iterable[str]) -> None:
        if not args.json:
            print('\n'.join(lines), flush=True)

    with redirect_stdout(sys.stderr) if args.json else nullcontext():
        report = examined(show)
    if args.json:
        print(json.dumps(report.as_dict(), indent=1))
    if report.failures():
        sys.exit(1)


if __name__ == '__main__':
    run(main)
