"""How strong the tests are: plants one-line faults, one at a time, and names those not caught.

Not part of the suite. Each fault of tests/faults/ is planted in a copy of the package, in a temporary
folder, and the tests that should notice it run there; faults in C++ are compiled first, about a minute
each. All of them take about 35 minutes on one core (``--jobs 1``). Needs the C++ kernels,
whose absence would skip tests (``python -m mmdla.ops.build``).

    python tests/mutants.py             # all
    python tests/mutants.py DSU border  # those with one of these words in their name
"""
import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from faults import FAULTS, Fault

ROOT = Path(__file__).parents[1]
COPIED = ('mmdla', 'tests', 'configs', 'tools', 'docs', 'model-index.yml', 'setup.py', 'setup.cfg',
          'pyproject.toml', 'pytest.ini')
# addopts: what the default options leave out runs here too
PYTEST = ('-x', '-q', '--disable-warnings', '-p', 'no:cacheprovider', '-o', 'addopts=')
START = """
import sys
import mmdla, pytest
from mmdla.ops.backend import kernels
if not mmdla.__file__.startswith(sys.argv[1]):
    sys.exit(f'{mmdla.__file__} is not the copy to test')
if kernels() is None:
    sys.exit('there are no C++ kernels: build them with python -m mmdla.ops.build')
sys.exit(pytest.main(sys.argv[2:]))
"""


def place_of(fault: Fault, root: Path) -> Path:
    """The file with the fault's old text, which must be there once."""
    path = root / fault.file
    files = [path] if path.is_file() else [p for p in path.rglob('*') if p.is_file()]
    found = [p for p in files for _ in range(p.read_text().count(fault.old))]
    if len(found) != 1:
        raise LookupError(f'{fault.name}: its old text is there {len(found)} times in {fault.file}')
    return found[0]


class Laboratory:
    """Runs tests in copies of the package, each in a folder of its own below ``folder``."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.realpath(folder)
        self.running, self.closed = set(), False

    def test(self, file: str, which: str, fault: Optional[Fault] = None) -> Tuple[str, str, float]:
        """'passed', 'failed' or 'error', the test that failed or the last line, and seconds."""
        start = time.monotonic()
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            outcome, said = self.try_out(copied(Path(name)), file, which, fault)
        return outcome, said, time.monotonic() - start

    def try_out(self, copy: Path, file: str, which: str, fault: Optional[Fault]) -> Tuple[str, str]:
        env = {}
        if fault:
            path = place_of(fault, copy)
            path.write_text(path.read_text().replace(fault.old, fault.new))
        if fault and fault.compiled:
            env['XDG_CACHE_HOME'] = str(copy / 'cache')
            code, lines = self.call(copy, '-m', 'mmdla.ops.build', **env)
            if code:
                return 'error', lines[-1]
        code, lines = self.call(copy, '-c', START, str(copy), *PYTEST, file, '-k', which, **env)
        failed = [line for line in lines if line.startswith('FAILED ')]
        if code == 1 and failed:
            return 'failed', failed[0].removeprefix('FAILED ').partition(' - ')[0]
        return 'error' if code else 'passed', f'exit code {code}, {lines[-1] if lines else "silent"}'

    def call(self, copy: Path, *args: str, **env: str) -> Tuple[int, List[str]]:
        """Exit code and output of a Python that imports from a copy."""
        if self.closed:
            raise KeyboardInterrupt
        env = {**os.environ, 'PYTHONPATH': str(copy), 'TMPDIR': str(copy / 'tmp'),
               'OMP_NUM_THREADS': '1', 'OMP_WAIT_POLICY': 'PASSIVE', **env}
        with subprocess.Popen([sys.executable, *args], cwd=copy, env=env, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, start_new_session=True) as process:
            self.running.add(process)
            text, _ = process.communicate()
            self.running.discard(process)
        return process.returncode, text.splitlines()

    def close(self) -> None:
        """Interrupt what runs, so that it ends what it has started itself."""
        self.closed = True
        for process in list(self.running):
            os.killpg(process.pid, signal.SIGINT)
        for process in list(self.running):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def copied(folder: Path) -> Path:
    """The folder, with a copy of the package and its tests."""
    for source in filter(Path.exists, (ROOT / name for name in COPIED)):
        if source.is_dir():
            shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copy(source, folder)
    (folder / 'tmp').mkdir()
    return folder


def without_faults(faults: List[Fault], lab: Laboratory, pool: ThreadPoolExecutor) -> bool:
    """Whether the tests of these faults pass as things are, file by file."""
    wanted = {}
    for file, which in dict.fromkeys(fault.tests for fault in faults):
        wanted.setdefault(file, []).append(f'({which})')
    jobs = {pool.submit(lab.test, file, ' or '.join(which)): file for file, which in wanted.items()}
    passed = []
    for job in as_completed(jobs):
        outcome, said, seconds = job.result()
        passed.append(outcome == 'passed')
        print(f'{outcome:7} {seconds:4.0f} s  without a fault: {jobs[job]} ({said})', flush=True)
    return all(passed)


def with_faults(faults: List[Fault], lab: Laboratory, pool: ThreadPoolExecutor) -> Dict[str, List[str]]:
    """Names of the faults by what became of them."""
    jobs = {pool.submit(lab.test, *fault.tests, fault): fault.name for fault in faults}
    found = dict(failed=[], passed=[], error=[])
    for job in as_completed(jobs):
        outcome, said, seconds = job.result()
        found[outcome].append(jobs[job])
        word = dict(failed='caught', passed='MISSED', error='ERROR')[outcome]
        print(f'{word:7} {seconds:4.0f} s  {jobs[job]}: {said}', flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('words', nargs='*', help='plant the faults with one of these in their name')
    parser.add_argument('--jobs', type=int, default=min(os.cpu_count() or 1, 8),
                        help='faults at a time, each on one thread (default: %(default)s)')
    args = parser.parse_args()
    faults = [f for f in FAULTS if any(word in f.name for word in args.words or [''])]
    if not faults:
        parser.error('no fault has one of these words in its name')
    try:
        for fault in faults:
            place_of(fault, ROOT)
    except LookupError as error:
        parser.error(str(error))
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='mmdla_mutants_') as folder:
        lab = Laboratory(folder)
        with ThreadPoolExecutor(args.jobs) as pool:
            try:
                if not without_faults(faults, lab, pool):
                    print('these tests must pass before a fault can show anything')
                    return 2
                found = with_faults(faults, lab, pool)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                lab.close()
                raise
    caught, missed, errors = found['failed'], found['passed'], found['error']
    print(f'{len(caught)} of {len(faults)} caught in {time.monotonic() - start:.0f} s; '
          f'not caught: {", ".join(missed) or "none"}')
    if errors:
        print(f'errors of the table: {", ".join(errors)}')
    return 1 if missed else 2 if errors else 0


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit('stopped')
