"""What the doctor found, as text for one screen or as one object for a bug report."""
from collections import Counter
from typing import Dict, Iterator, List, NamedTuple, Optional

from .checks import Check
from .timing import Time

SHOWN = 12  # failures


class Report(NamedTuple):
    """Everything found.

    Attributes:
        environment (dict): See :func:`mmdla.doctor.environment.environment`.
        checked (str): Implementation that was checked.
        checks (list[Check]): Of its operations and of networks.
        times (list[Time]): Of steps.
        fastest (str, optional): What was kept for this GPU.
    """

    environment: Dict[str, object]
    checked: str
    checks: List[Check]
    times: List[Time]
    fastest: Optional[str]

    def failures(self) -> List[str]:
        """All that is wrong, one sentence each."""
        return [*self.environment['problems'],
                *(check.failure for check in self.checks if check.failure),
                *(f'{time.how}: {time.workload} could not be run ({time.problem}).'
                  for time in self.times if time.wrong)]

    def unchecked(self) -> Dict[str, int]:
        """Reasons for which something was not checked, and how many checks each concerns."""
        found = Counter(check.unchecked for check in self.checks if check.unchecked)
        found.update(f'{time.how}, {time.workload}: {time.problem}'
                     for time in self.times if time.problem and not time.wrong)
        return dict(found)

    def as_dict(self) -> dict:
        return dict(
            ok=not self.failures(), failures=self.failures(), environment=self.environment,
            checked=self.checked, checks=[summary(name, group) for name, group in self.groups().items()],
            not_checked=self.unchecked(), times=[time._asdict() for time in self.times],
            fastest=self.fastest)

    def groups(self) -> Dict[str, List[Check]]:
        """Checks that were made, by operation."""
        found: Dict[str, List[Check]] = {}
        for check in self.checks:
            if check.unchecked is None:
                found.setdefault(check.operation, []).append(check)
        return found


def summary(name: str, checks: List[Check]) -> dict:
    """Of the checks of an operation; ``worst`` is error over allowed error, None if not a number."""
    worst = max(check.share for check in checks)
    return dict(operation=name, cases=len(checks),
                wrong=sum(check.failure is not None for check in checks),
                worst=worst if worst < float('inf') else None)


def of_environment(found: Dict[str, object]) -> Iterator[str]:
    hosts = ', '.join(f'{name} {version or "none"}' for name, version in found['hosts'].items())
    yield (f'mmdla {found["mmdla"]}, Python {found["python"]}, torch {found["torch"]}, torchvision '
           f'{found["torchvision"]}, {found["system"]}')
    yield f'hosts   {hosts}; mmcv operators: {found["mmcv_operators"]}'
    yield (f'CPU     {found["cpu"]}, {found["threads"]} threads, {found["instructions"]}; C++ kernels '
           f'{found["cpu_kernels"]}' + (
               ' (python -m mmdla.ops.build)' if found['cpu_kernels'] == 'not built' else ''))
    for gpu in found['gpus'] or ['none']:
        yield f'GPU     {gpu}'
    yield f'Triton  {found["triton"] or "none"}'


def of_checks(report: Report) -> Iterator[str]:
    yield f'{report.checked} against the definition in float64 (1.00: the error allowed)'
    for name, group in report.groups().items():
        row = summary(name, group)
        worst = 'none' if row['worst'] is None else f'{row["worst"]:.2f}'
        state = f'{row["wrong"]} WRONG' if row['wrong'] else 'ok'
        yield f'  {name:42} {row["cases"]:4} cases, worst {worst:>6}  {state}'
    for text, count in report.unchecked().items():
        yield f'  not checked: {text}' + (f' ({count} cases)' if count > 1 else '')


def of_times(times: List[Time]) -> Iterator[str]:
    yield 'DLA-L-50 in ms a step, and its ratio to the plain ResNet-50 (median of the rounds)'
    before = None
    for time in times:
        if time.workload != before:
            before = time.workload
            yield f'  {time.workload}'
        if time.problem:
            yield f'    {time.how:10} {time.problem}'
        else:
            count = '' if time.compilations is None else f', {time.compilations} compilations'
            ratio = '   -' if time.ratio is None else f'{time.ratio:4.2f}'
            yield f'    {time.how:10} {time.ms:8.1f}  {ratio}   first step {time.first_s:.1f} s{count}'


def of_end(report: Report) -> Iterator[str]:
    if report.fastest:
        yield f'fastest correct implementation, kept for this GPU and these versions: {report.fastest}'
    failures = report.failures()
    for text in failures[:SHOWN]:
        yield f'wrong: {text}'
    if len(failures) > SHOWN:
        yield f'wrong: {len(failures) - SHOWN} more (--json lists all)'
    yield f'{len(failures)} wrong' if failures else 'nothing wrong'
