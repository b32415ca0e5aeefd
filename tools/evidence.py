"""Train configs with several seeds, a few runs at a time, and record what comes out.

    python tools/evidence.py             # configs/cifar/short: 15 epochs, seeds 0, 1, 2
    python tools/evidence.py --full      # the same systems and the split forms, 180 epochs, seeds 0 to 4
    python tools/evidence.py CONFIG ... --seeds 0 1 --jobs 4 --cfg-options KEY=VALUE
    python tools/evidence.py --list      # where every run stands

Calls tools/train.py for the first seed of each config, then the second, as many at a time as there are
GPUs, or else CPU cores. Stop it as you like: the same command skips what is finished and goes on with
the rest from the last epochs. Several can share the work. Each run leaves OUT/CONFIG_seedN.json with
every attempt, a broken one too. On Linux and macOS.
"""
import argparse
import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

import mmdla
from mmdla.engine import cli
from mmdla.engine.evidence import LOST, Record, by_config, curves, read_record, spread
from mmdla.engine.remarks import without_remarks
from mmdla.errors import UserError
from mmdla.files import check_folder, write_text
from mmdla.hosts.config_files import PREFIX, config_path

import torch

ROOT = Path(__file__).resolve().parents[1]
SYSTEMS = ('resnet20', 'dla_l20', 'mrla_l20', 'dla_b20', 'mrla_b20', 'dia20', 'se-r20', 'eca-r20')
SPLIT = ('dla_l20_split-r4', 'dla_b20_split-r4-tokens')  # of which the paper prints its results
POLL = 2  # seconds
# glibc returns maps of 32 MB and more to the system, which clears their pages anew: docs/speed.md
KEEP_MEMORY = dict(MALLOC_MMAP_THRESHOLD_=str(1 << 32), MALLOC_TRIM_THRESHOLD_=str(1 << 34),
                   GLIBC_TUNABLES='glibc.malloc.hugetlb=1')


class Busy(Exception):
    """Another process is at a run."""


class Run(NamedTuple):
    """One training of a config with a seed."""

    config: Path
    seed: int
    epochs: int
    val_interval: int
    options: Tuple[str, ...]
    work_dir: Path
    path: Path

    @property
    def name(self) -> str:
        return f'{self.config.stem} seed {self.seed}'

    @property
    def log(self) -> Path:
        return self.work_dir.with_suffix('.log')

    def record(self) -> Optional[Record]:
        """
        Raises:
            UserError: If the folders hold a run of another recipe.
        """
        if not self.path.is_file():
            if self.work_dir.exists():
                raise UserError(f'{self.work_dir} holds a run that {self.path.parent} does not know: '
                                'name another --work-dir, or remove it.')
            return None
        record = read_record(self.path)
        if record.recipe != (self.epochs, self.options):
            raise UserError(f'{self.path} is of a run of {record.epochs} epochs with '
                            f'{" ".join(record.options) or "no options"}, and this one has '
                            f'{self.epochs} with {" ".join(self.options) or "none"}: name another --out '
                            'and --work-dir.')
        return record

    def write(self, status: str, attempts: List[dict]) -> Record:
        """Record where the run stands."""
        config = self.config.resolve()
        content = dict(
            config=(config.relative_to(ROOT) if config.is_relative_to(ROOT) else config).as_posix(),
            seed=self.seed, epochs=self.epochs, options=[*self.options], status=status,
            attempts=attempts, **curves(self.work_dir))
        write_text(self.path, json.dumps(content) + '\n')
        return Record(**content)

    def forget_unvalidated(self) -> None:
        """Remove checkpoints whose validation was due and did not come before the run was stopped.

        Going on from them would leave a hole in the curve, or no result at its end.
        """
        validated = curves(self.work_dir)['val'][-1:]
        for path in self.work_dir.glob('epoch_*.pth'):
            epoch = int(path.stem[6:])
            due = epoch % self.val_interval == 0 or epoch == self.epochs
            if due and epoch > (validated[0][0] if validated else 0):
                path.unlink()


class Job:
    """A run in a process of its own.

    Raises:
        Busy: If another process is at it; its log is locked as long as one is.
    """

    def __init__(self, run: Run, slot: int, environment: Dict[str, str]) -> None:
        self.run, self.slot = run, slot
        run.work_dir.parent.mkdir(parents=True, exist_ok=True)
        with open(run.log, 'a') as log:
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Busy from error
            before = run.record()
            earlier = before.attempts if before else []
            if before and before.val and not run.work_dir.exists():
                earlier = [{**attempt, 'end': LOST} for attempt in earlier]
            run.forget_unvalidated()
            self.attempts = [*earlier, circumstances(environment['OMP_NUM_THREADS'])]
            self.record = run.write('running', self.attempts)
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / 'tools' / 'train.py'), str(run.config), '--resume',
                 '--work-dir', str(run.work_dir), '--cfg-options', f'randomness.seed={run.seed}',
                 'default_hooks.checkpoint.interval=1',
                 f'default_hooks.checkpoint.max_keep_ckpts={run.val_interval + 1}', *run.options],
                stdout=log, stderr=subprocess.STDOUT, env=environment)

    def poll(self) -> bool:
        """Record a new validation or the end; whether there was one."""
        code = self.process.poll()
        if code is None:
            if curves(self.run.work_dir)['val'] == self.record.val:
                return False
            self.record = self.run.write('running', self.attempts)
            return True
        self.end(code)
        return True

    def end(self, code: int) -> None:
        last = curves(self.run.work_dir)['val'][-1:]
        error = None
        if code < 0:
            error = f'killed by {signal.Signals(-code).name}'
        elif code:
            said = self.run.log.read_text(errors='replace').split('\n')
            error = next((line for line in reversed(said) if line.strip()), f'exit code {code}')
            error = error.removeprefix('error: ')
        elif not last or last[0][0] != self.run.epochs:
            error = f'its last epoch was not validated: remove {self.run.work_dir}'
        status = 'failed' if error else 'finished'
        self.attempts[-1].update(end=status, **(dict(error=error) if error else {}))
        self.record = self.run.write(status, self.attempts)

    def stop(self) -> None:
        if self.record.status == 'running':
            self.process.terminate()
            self.process.wait()
            self.attempts[-1].update(end='stopped')
            self.record = self.run.write('stopped', self.attempts)

    def __str__(self) -> str:
        return f'{self.run.name}: {self.record}'


def environments(slots: int, cores: int) -> List[Dict[str, str]]:
    """That of the processes in each slot: its GPU, and its share of the cores."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get('PYTHONPATH'))))
    common = dict(os.environ, PYTHONPATH=path, OMP_WAIT_POLICY='PASSIVE',
                  OMP_NUM_THREADS=str(max(1, cores // slots)))
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    gpus = visible.split(',') if visible else [str(i) for i in range(torch.cuda.device_count())]
    if not torch.cuda.device_count():
        return [{**KEEP_MEMORY, **common}] * slots
    if torch.cuda.device_count() < 2:
        return [common] * slots
    return [dict(common, CUDA_VISIBLE_DEVICES=gpus[slot % len(gpus)]) for slot in range(slots)]


def circumstances(threads: str) -> dict:
    """What a record says of the process that worked on a run."""
    commit = subprocess.run(['git', 'describe', '--always', '--exclude=*', '--dirty'], cwd=ROOT,
                            capture_output=True, text=True)
    return dict(
        date=time.strftime('%Y-%m-%d'), mmdla=mmdla.__version__, commit=commit.stdout.strip() or None,
        torch=torch.__version__, python=platform.python_version(), threads=int(threads),
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU')


def until(jobs: List[Job], waiting: List[Run], started: float, before: int) -> str:
    """When all will be done, by the pace so far."""
    epochs = sum(job.record.epoch for job in jobs) - before
    left = sum(job.run.epochs - job.record.epoch for job in jobs if job.record.status == 'running')
    left += sum(run.epochs for run in waiting)
    if not left or epochs <= 0:
        return ''
    pace = (time.time() - started) / epochs  # seconds, of all runs together
    return time.strftime(', the rest until about %a %H:%M', time.localtime(time.time() + pace * left))


def say(text: str) -> None:
    print(time.strftime('%H:%M'), text, flush=True)


def train(runs: List[Run], slots: int, cores: int) -> List[Job]:
    """Run all, ``slots`` at a time; those that broke off are returned."""
    waiting, jobs, started, before = list(runs), [], time.time(), 0
    places = environments(slots, cores)
    terminate = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while True:
            active = [job for job in jobs if job.record.status == 'running']
            while waiting and len(active) < slots:
                slot, run = min(set(range(slots)) - {job.slot for job in active}), waiting.pop(0)
                try:
                    job = Job(run, slot, places[slot])
                except Busy:
                    say(f'{run.name}: another process is at it, left to that')
                    continue
                active.append(job)
                jobs.append(job)
                before += job.record.epoch
                say(f'{run.name}: started at epoch {job.record.epoch}, log {run.log}')
            if not active:
                return [job for job in jobs if job.record.status == 'failed']
            time.sleep(POLL)
            for job in active:
                if job.poll():
                    done = sum(job.record.status == 'finished' for job in jobs)
                    say(f'{job}; {done} of {len(runs)} runs finished'
                        f'{until(jobs, waiting, started, before)}')
    finally:
        for job in jobs:
            job.stop()
        signal.signal(signal.SIGTERM, terminate)


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('configs', nargs='*', metavar='CONFIG', help='default: eight systems of depth 20')
    add('--seeds', type=int, nargs='+', metavar='N', help='default: 0 1 2, with --full 0 to 4')
    add('--full', action='store_true', help="the papers' 180 epochs in place of 15")
    add('--list', action='store_true', help='only say where every run stands')
    add('--jobs', type=int, metavar='N',
        help='runs at a time (default: one a GPU, or else a core); a GPU has room for several of CIFAR')
    add('--work-dir', default='work_dirs/evidence', help='of the runs (default: %(default)s)')
    add('--out', help='folder of the records (default: docs/evidence in a clone, else WORK_DIR/records)')
    add('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='for every run')
    args = parser.parse_args()
    if args.full and args.configs:
        raise UserError('--full chooses the configs itself: give configs or --full.')
    if args.jobs is not None and args.jobs < 1:
        raise UserError(f'--jobs {args.jobs} is no number of runs: give 1 or more.')
    return args


def find_runs(args) -> List[Run]:
    """All runs: the first seed of each config, then the second."""
    pattern = 'cifar/{}_b128_cifar100.py' if args.full else 'cifar/short/{}_15e_cifar100.py'
    names = (*SYSTEMS, *SPLIT) if args.full else SYSTEMS
    configs = args.configs or [ROOT / 'configs' / pattern.format(name) for name in names]
    configs = [Path(config_path(config) if str(config).startswith(PREFIX) else config)
               for config in configs]
    if len({config.stem for config in configs}) < len(configs):
        raise UserError('two of the configs have the same name, and would share a folder: rename one.')
    loops = {}
    for config in configs:
        with without_remarks():
            cfg = cli.read_config(str(config), cli.options(args.cfg_options))
        loops[config] = cfg.get('train_cfg') or {}
        if not loops[config].get('max_epochs'):
            raise UserError(f'{config} has no train_cfg.max_epochs: give a config that has it.')
    work_dir = Path(args.work_dir)
    ours = ROOT / 'docs' / 'evidence'
    out = check_folder(args.out or (ours if ours.is_dir() else work_dir / 'records'))
    seeds = dict.fromkeys(args.seeds or range(5 if args.full else 3))
    return [Run(config, seed, loops[config]['max_epochs'], loops[config].get('val_interval', 1),
                tuple(args.cfg_options), work_dir / f'{config.stem}_seed{seed}',
                out / f'{config.stem}_seed{seed}.json') for seed in seeds for config in configs]


def main() -> None:
    args = parse_args()
    runs = find_runs(args)
    records = {run: run.record() for run in runs}
    left = [run for run in runs if not records[run] or records[run].status != 'finished']
    if args.list:
        for run, record in records.items():
            print(f'{run.name}: {record or "not started"}')
        for config, each in by_config([record for record in records.values() if record]).items():
            results = [record.result for record in each if record.status == 'finished']
            if len(results) > 1:
                print(f'{Path(config).stem}: {spread(results, each[0].measure)}, {len(results)} seeds')
    if args.list or not left:
        print(f'{len(runs) - len(left)} of {len(runs)} runs are finished.')
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    failed = train(left, min(args.jobs or torch.cuda.device_count() or cores, len(left)), cores)
    if failed:
        raise UserError(f'{len(failed)} of {len(left)} runs broke off, the first of them {failed[0]}')
    say('python tools/analysis/evidence_page.py and make_metafiles.py write the tables of these records')


if __name__ == '__main__':
    cli.run(main)
