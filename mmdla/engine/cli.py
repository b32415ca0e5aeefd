"""What tools/train.py and tools/test.py share."""
import argparse
import os
from pathlib import Path
from typing import Optional

from mmengine.config import Config, DictAction

from mmdla.errors import UserError, run  # noqa: F401 (tools call cli.run)
from mmdla.hosts.compat import import_datasets


def parser(description: str) -> argparse.ArgumentParser:
    """The arguments that both tools take."""
    p = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('config', help='config file')
    p.add_argument('--work-dir', help='folder for all output (default: work_dirs/CONFIG_NAME)')
    add_options(p)
    p.add_argument(
        '--progress',
        action='store_true',
        help='show a progress bar in place of the log, which goes to the log file')
    p.add_argument(
        '--check-data',
        action='store_true',
        help='first open every image and annotation, and list what is wrong')
    p.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    # torch.distributed.launch, which mim uses, passes it; the environment says the same
    p.add_argument('--local-rank', '--local_rank', type=int, default=0, help=argparse.SUPPRESS)
    return p


def read_config(filename: str, options: Optional[dict] = None) -> Config:
    """A config with the settings that override it."""
    if not os.path.isfile(filename):
        raise UserError(f'config {filename} does not exist: see the table of configs in the README.')
    try:
        cfg = Config.fromfile(filename)
        cfg.merge_from_dict(options or {})
    except Exception as error:
        raise UserError(f'config {filename} cannot be read with these options '
                        f'({type(error).__name__}: {error}): correct it.'.replace('\n', ' ')) from error
    return cfg


def load_config(args: argparse.Namespace) -> Config:
    """The config with the command line's overrides, launcher and work_dir."""
    cfg = read_config(args.config, args.cfg_options)
    if cfg.get('default_scope') in ('mmdet', 'mmpretrain'):
        import_datasets(cfg.default_scope)
    cfg.launcher = args.launcher
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = os.path.join('work_dirs', Path(args.config).stem)
    return cfg


def add_options(p: argparse.ArgumentParser) -> None:
    """``--cfg-options`` of the tools that read a config."""
    p.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='settings that override the config, for example '
        'optim_wrapper.optimizer.lr=0.02 train_dataloader.batch_size=2')


def from_launcher(launcher: str, default: int, **variables: str) -> int:
    """A number that a launcher passes in the environment."""
    return int(os.environ.get(variables.get(launcher, ''), default))


def rank(launcher: str) -> int:
    """Number of this process among those of the launcher, from 0."""
    return from_launcher(launcher, 0, pytorch='RANK', slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK')


def world_size(launcher: str) -> int:
    """Processes that the launcher has started."""
    return from_launcher(
        launcher, 1, pytorch='WORLD_SIZE', slurm='SLURM_NTASKS', mpi='OMPI_COMM_WORLD_SIZE')
