"""Train configs with several seeds, a few runs at a time, and record what comes out.

    python tools/evidence.py             # configs/cifar/short: 15 epochs, seeds 0, 1, 2
    python tools/evidence.py --full      # the same systems, 180 epochs, seeds 0 to 4
    python tools/evidence.py --list      # what is finished and what is left

Calls tools/train.py for one config and seed after the other, as many at a time as there are GPUs, or
else CPU cores. Stop it as you like: the same command skips what is finished and goes on with the rest
from the last epochs. Every run that was started leaves OUT/CONFIG_seedN.json, a broken one too.
"""
import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, median
from typing import Dict, List, NamedTuple, Optional

import mmdla
from mmdla.engine import cli
from mmdla.engine.remarks import without_remarks
from mmdla.engine.work_dir import has_numbers, measured, read_scalars
from mmdla.errors import UserError
from mmdla.files import check_folder, write_text

import torch
from mmengine.config import DictAction

ROOT = Path(__file__).resolve().parents[1]
SYSTEMS = ('resnet20', 'dla_l20', 'mrla_l20', 'dla_b20', 'mrla_b20', 'dia20', 'se-r20', 'eca-r20')
POLL = 1  # seconds


class Run(NamedTuple):
    """One training of a config with a seed."""

    config: Path
    seed: int
    epochs: int
    work_dir: Path
    record: Path

    @property
    def name(self) -> str:
        return f'{self.config.stem} seed {self.seed}'

    @property
    def log(self) -> Path:
        return self.work_dir.with_suffix('.log')

    def is_finished(self, options: List[str]) -> bool:
        """
        Raises:
            UserError: If there is a record of another run.
        """
        if not self.record.is_file():
            return False
        entry = json.loads(self.record.read_text())
        if (entry['epochs'], entry['options']) != (self.epochs, options):
            given = ' '.join(entry['options']) or 'no options'
            raise UserError(f'{self.record} is of a run of {entry["epochs"]} epochs with {given}, and '
                            f'this one has {self.epochs}: name another --out, or remove it.')
        return entry['status'] == 'finished'

    def forget_unvalidated(self) -> None:
        """Remove the checkpoint of an epoch that was not validated before the run was stopped.

        Going on from there would leave a hole in the curve; the one before is kept too.
        """
        _, val = measured(read_scalars(str(self.work_dir)))
        validated = val[-1][0] if val else 0
        saved = {int(path.stem[6:]): path for path in self.work_dir.glob('epoch_*.pth')}
        if min(saved, default=validated + 1) <= validated:
            for epoch, path in saved.items():
                if epoch > validated:
                    path.unlink()

    def write(self, status: str, circumstances: dict, error: Optional[str] = None) -> dict:
        """Record where the run stands."""
        lines = read_scalars(str(self.work_dir))
        metric, val = measured(lines)
        train = [line for line in lines if has_numbers(line, 'loss', 'epoch', 'step', 'time')]
        losses: Dict[int, List[float]] = {}
        for line in train:
            losses.setdefault(line['epoch'], []).append(line['loss'])
        config = self.config.resolve()
        entry = dict(
            config=str(config.relative_to(ROOT) if config.is_relative_to(ROOT) else config),
            seed=self.seed, status=status, epochs=self.epochs, metric=metric, val=val,
            loss=[[epoch, round(mean(values), 4)] for epoch, values in sorted(losses.items())],
            seconds_per_epoch=seconds_per_epoch(train), **circumstances)
        if error:
            entry['error'] = error
        write_text(self.record, json.dumps(entry) + '\n')
        return entry


def seconds_per_epoch(train: List[dict]) -> float:
    """Of training alone, by the median iteration; 0 before the first is logged."""
    if not train:
        return 0
    epochs = max(line['epoch'] for line in train)
    iterations = max(line['step'] for line in train) / epochs
    return round(iterations * median(line['time'] for line in train), 1)


class Job:
    """A run in a process of its own."""

    def __init__(self, run: Run, slot: int, threads: int, options: List[str],
                 circumstances: dict) -> None:
        self.run, self.slot, self.circumstances = run, slot, circumstances
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get('PYTHONPATH'))))
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads), OMP_WAIT_POLICY='PASSIVE',
                           PYTHONPATH=path)
        if torch.cuda.device_count() > 1:
            environment['CUDA_VISIBLE_DEVICES'] = str(slot % torch.cuda.device_count())
        run.forget_unvalidated()
        run.work_dir.parent.mkdir(parents=True, exist_ok=True)
        with open(run.log, 'a') as log:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / 'tools' / 'train.py'), str(run.config), '--resume',
                 '--work-dir', str(run.work_dir), '--cfg-options', f'randomness.seed={run.seed}',
                 'default_hooks.checkpoint.interval=1', 'default_hooks.checkpoint.max_keep_ckpts=2',
                 *options],
                stdout=log, stderr=subprocess.STDOUT, env=environment)
        self.entry = run.write('running', circumstances)

    @property
    def epoch(self) -> int:
        return self.entry['val'][-1][0] if self.entry['val'] else 0

    def poll(self) -> bool:
        """Record a new epoch or the end; whether there was one."""
        code, epoch = self.process.poll(), self.epoch
        if code is None:
            _, val = measured(read_scalars(str(self.run.work_dir)))
            if not val or val[-1][0] == epoch:
                return False
            self.entry = self.run.write('running', self.circumstances)
        elif code == 0:
            self.entry = self.run.write('finished', self.circumstances)
        else:
            said = self.run.log.read_text(errors='replace').split('\n')
            said = next((line for line in reversed(said) if line.strip()), f'exit code {code}')
            self.entry = self.run.write('failed', self.circumstances, said.removeprefix('error: '))
        return True

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
        if self.entry['status'] == 'running':
            self.run.write('stopped', self.circumstances)

    def __str__(self) -> str:
        text = f'{self.run.name}: epoch {self.epoch} of {self.run.epochs}'
        if self.entry['val']:
            text += f', {self.entry["metric"].rpartition("/")[-1]} {self.entry["val"][-1][1]:.4g}'
        ends = {'finished': ', finished', 'failed': f', failed: {self.entry.get("error")}'}
        return text + ends.get(self.entry['status'], '')


def until(jobs: List[Job], waiting: List[Run], started: float, before: int) -> str:
    """When all will be done, by the pace so far."""
    epochs = sum(job.epoch for job in jobs) - before
    left = sum(job.run.epochs - job.epoch for job in jobs if job.entry['status'] == 'running')
    left += sum(run.epochs for run in waiting)
    if not left or epochs <= 0:
        return ''
    pace = (time.time() - started) / epochs  # seconds, of all runs together
    return time.strftime(', the rest until about %a %H:%M', time.localtime(time.time() + pace * left))


def say(text: str) -> None:
    print(time.strftime('%H:%M'), text, flush=True)


def train(runs: List[Run], slots: int, threads: int, options: List[str]) -> List[Job]:
    """Run all, ``slots`` at a time; those that broke off are returned."""
    circumstances = dict(
        mmdla=mmdla.__version__, torch=torch.__version__, python=platform.python_version(),
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU', threads=threads,
        options=options)
    waiting, jobs, started, before = list(runs), [], time.time(), 0
    terminate = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while True:
            active = [job for job in jobs if job.entry['status'] == 'running']
            while waiting and len(active) < slots:
                slot = min(set(range(slots)) - {job.slot for job in active})
                active.append(Job(waiting.pop(0), slot, threads, options, circumstances))
                jobs.append(active[-1])
                before += active[-1].epoch
                say(f'{active[-1].run.name}: started, log {active[-1].run.log}')
            if not active:
                return [job for job in jobs if job.entry['status'] == 'failed']
            time.sleep(POLL)
            for job in active:
                if job.poll():
                    done = sum(job.entry['status'] == 'finished' for job in jobs)
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
    add('--list', action='store_true', help='only say what is finished and what is left')
    add('--jobs', type=int, metavar='N', help='runs at a time (default: one a GPU, or else a core)')
    add('--work-dir', default='work_dirs/evidence', help='of the runs (default: %(default)s)')
    add('--out', help='folder of the records (default: docs/evidence of this clone)')
    add('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='for every run')
    return parser.parse_args()


def find_runs(args) -> List[Run]:
    """All runs: the first seed of each config, then the second."""
    pattern = 'cifar/{}_b128_cifar100.py' if args.full else 'cifar/short/{}_15e_cifar100.py'
    configs = args.configs or [ROOT / 'configs' / pattern.format(name) for name in SYSTEMS]
    names = [Path(config).stem for config in configs]
    if len({*names}) < len(names):
        raise UserError('two of the configs have the same name, and would share a folder: rename one.')
    seeds = args.seeds or list(range(5 if args.full else 3))
    epochs = {}
    for config in configs:
        with without_remarks():
            cfg = cli.read_config(str(config), dict(option(text) for text in args.cfg_options))
        epochs[config] = (cfg.get('train_cfg') or {}).get('max_epochs')
        if not epochs[config]:
            raise UserError(f'{config} has no train_cfg.max_epochs: give a config that has it.')
    out, work_dir = check_folder(args.out or ROOT / 'docs/evidence'), Path(args.work_dir)
    return [Run(Path(config), seed, epochs[config], work_dir / f'{Path(config).stem}_seed{seed}',
                out / f'{Path(config).stem}_seed{seed}.json') for seed in seeds for config in configs]


def option(text: str):
    """KEY=VALUE as mmengine reads it."""
    key, equals, value = text.partition('=')
    if not equals:
        raise UserError(f'--cfg-options {text} is no KEY=VALUE: put a key and = in front.')
    return key, DictAction._parse_iterable(value)


def main() -> None:
    args = parse_args()
    runs = find_runs(args)
    left = [run for run in runs if not run.is_finished(args.cfg_options)]
    if args.list:
        for run in runs:
            print(f'{"left    " if run in left else "finished"} {run.name}')
    if args.list or not left:
        print(f'{len(runs) - len(left)} of {len(runs)} runs are finished.')
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    slots = min(args.jobs or torch.cuda.device_count() or cores, len(left))
    failed = train(left, slots, max(1, cores // slots), args.cfg_options)
    if failed:
        raise UserError(f'{len(failed)} of {len(left)} runs broke off, the first of them '
                        f'({failed[0].run.name}) with: {failed[0].entry["error"]}')


if __name__ == '__main__':
    cli.run(main)
