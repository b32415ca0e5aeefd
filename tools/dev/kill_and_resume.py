"""Kill training runs at random and at the worst moments, resume each, and compare the outcome.

    python tools/dev/kill_and_resume.py --kills 20

Trains the mini classifier on a few generated images, once without interruption and then once for
every kill: by SIGKILL, SIGTERM and SIGINT in turn, and in turn at a random time, while a checkpoint is
written, before and after it is put in its place, before an outdated one is removed, and while
last_checkpoint is written. `tools/train.py --resume` must then come to the last epoch with the same
weights, bit for bit: augmentation is off. Prints a line a kill and exits with 1 if any fails.
"""
import argparse
import itertools
import os
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import List, Optional

import torch

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs' / 'mini' / 'dla_l18_mini_shapes.py'
EPOCHS = 5
OPTIONS = [
    '--cfg-options', f'train_cfg.max_epochs={EPOCHS}', f'param_scheduler.1.T_max={EPOCHS}',
    'train_dataloader.dataset.pipeline.1.prob=0.0', 'train_dataloader.batch_size=8',
    'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False',
    'default_hooks.checkpoint.max_keep_ckpts=1', 'default_hooks.logger.interval=1', 'val_cfg=None',
    'val_dataloader=None', 'val_evaluator=None']
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MOMENTS = ('random', 'writing', 'before replacing', 'after replacing', 'before removing',
           'writing last_checkpoint')


def command(work_dir: Path, *more: str) -> List[str]:
    return ['tools/train.py', str(CONFIG), '--work-dir', str(work_dir), *more, *OPTIONS]


def start(arguments: List[str], data: Path) -> subprocess.Popen:
    environment = {**os.environ, 'MINI_SHAPES_ROOT': str(data), 'PYTHONPATH': str(ROOT),
                   'OMP_NUM_THREADS': '1'}
    return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def weights(work_dir: Path) -> Optional[dict]:
    """The tensors of the last epoch's checkpoint, if there is one."""
    path = work_dir / f'epoch_{EPOCHS}.pth'
    return torch.load(path, weights_only=False)['state_dict'] if path.is_file() else None


def equal(one: Optional[dict], other: dict) -> bool:
    return one is not None and one.keys() == other.keys() and all(
        torch.equal(value, other[name]) for name, value in one.items())


def trial(number: int, moment: str, kind: signal.Signals, folder: Path, data: Path,
          seconds: float) -> bool:
    """Kill one run, resume it, and compare with the one that was not interrupted."""
    work_dir = folder / str(number)
    if moment == 'random':
        run = start(command(work_dir), data)
        time.sleep(random.uniform(0.3, 1.0) * seconds)
        run.send_signal(kind)
    else:
        occurrence = str(random.randint(1, EPOCHS - 2))
        run = start([__file__, '--child', moment, str(int(kind)), occurrence, *command(work_dir)], data)
    run.communicate()
    left = sorted(path.name for path in work_dir.glob('*.pth*'))
    resumed = start(command(work_dir, '--resume'), data)
    output = resumed.communicate()[0]
    good = resumed.returncode == 0 and equal(weights(work_dir), weights(folder / 'whole'))
    print(f'{number:3} {kind.name:8} {moment:24} left {", ".join(left) or "nothing"}: '
          f'{"the same weights" if good else "FAILED"}', flush=True)
    if not good:
        print(output)
    return good


def child(moment: str, kind: int, occurrence: int, arguments: List[str]) -> None:
    """Train as tools/train.py does, and send oneself a signal at a moment's n-th occurrence."""
    from mmdla.engine import checkpoint_hook
    count = itertools.count(1)

    def stop() -> None:
        if next(count) == occurrence:
            os.kill(os.getpid(), kind)

    def before(function):
        return lambda *args, **kwargs: (stop(), function(*args, **kwargs))[1]

    def after(function):
        return lambda *args, **kwargs: (function(*args, **kwargs), stop())[0]

    def half(path: Path, content: bytes) -> None:
        with open(path, 'wb') as file:
            file.write(content[:len(content) // 2])
            file.flush()
            stop()
            file.write(content[len(content) // 2:])

    def cut(file, *args, **kwargs):
        opened = plain_open(file, *args, **kwargs)
        if str(file).endswith('last_checkpoint'):
            stop()
        return opened

    if moment == 'writing':
        Path.write_bytes = half
    elif moment == 'before replacing':
        os.replace = before(os.replace)
    elif moment == 'after replacing':
        os.replace = after(os.replace)
    elif moment == 'before removing':
        checkpoint_hook.WholeFiles.remove = before(checkpoint_hook.WholeFiles.remove)
    elif moment == 'writing last_checkpoint':
        import mmengine.hooks.checkpoint_hook as hook
        plain_open = open
        hook.open = cut
    sys.argv = arguments
    sys.path.insert(0, str(ROOT / 'tools'))
    runpy.run_path(str(ROOT / arguments[0]), run_name='__main__')


def main() -> None:
    if sys.argv[1:2] == ['--child']:
        moment, kind, occurrence, *arguments = sys.argv[2:]
        return child(moment, int(kind), int(occurrence), arguments)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=20, help='(default: 20)')
    parser.add_argument('--seed', type=int, default=0, help='of the random times (default: 0)')
    args = parser.parse_args()
    random.seed(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        folder, data = Path(folder), Path(folder) / 'data'
        subprocess.run([sys.executable, ROOT / 'tools' / 'data' / 'make_mini_shapes.py', data, '--train',
                        '40', '--val', '10'], check=True, stdout=subprocess.DEVNULL)
        begun = time.monotonic()
        whole = start(command(folder / 'whole'), data)
        output = whole.communicate()[0]
        if weights(folder / 'whole') is None:
            sys.exit(output)
        seconds = time.monotonic() - begun
        print(f'an uninterrupted run takes {seconds:.0f} s', flush=True)
        plans = [(MOMENTS[i % len(MOMENTS)], SIGNALS[(i + i // len(MOMENTS)) % len(SIGNALS)])
                 for i in range(args.kills)]
        good = [trial(number, moment, kind, folder, data, seconds)
                for number, (moment, kind) in enumerate(plans, 1)]
    print(f'{sum(good)} of {len(good)} runs ended with the weights of the uninterrupted one')
    sys.exit(not all(good))


if __name__ == '__main__':
    main()
