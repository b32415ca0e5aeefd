"""What tools/train.py and tools/test.py share."""
import argparse
import os
from pathlib import Path
from typing import Optional, Sequence

from mmengine.config import Config, DictAction

from mmdla.engine.config_keys import check_names, check_options, make_room
from mmdla.engine.vis_backends import check_backends
from mmdla.errors import UserError, is_full, reason, run  # noqa: F401 (tools call cli.run)
from mmdla.files import check_place
from mmdla.hosts.compat import import_datasets
from mmdla.hosts.config_files import PREFIX, config_path

RANKS = dict(pytorch='RANK', slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK')
LAUNCHED_BY = dict(pytorch='tools/dist_train.sh', slurm='srun', mpi='mpirun')


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
    """A config with the settings that override it.

    Args:
        filename (str): Its path, or ``mmdla::NAME``.
        options (dict, optional): The settings.

    Raises:
        UserError: If it cannot be read, has no model, or has a setting that nothing reads.
    """
    if filename.startswith(PREFIX):
        filename = config_path(filename)
    if not os.path.isfile(filename):
        raise UserError(f'config {filename} does not exist: check the path; mmdla::NAME is a config of '
                        'this package, from the tables in the README.')
    try:
        cfg = Config.fromfile(filename)
        check_options(cfg, options or {})
        make_room(cfg, options or {})
        cfg.merge_from_dict(options or {})
    except UserError:
        raise
    except Exception as error:
        if is_full(error):
            raise
        raise UserError(f'config {filename} cannot be read with these options ({reason(error)}): '
                        'correct it.') from error
    check_names(cfg, filename)
    if not isinstance(cfg.get('model'), dict):
        raise UserError(f'config {filename} has no model=dict(...): name a config of a detector or a '
                        'classifier.')
    return cfg


def load_config(args: argparse.Namespace) -> Config:
    """The config with the command line's overrides, launcher and work_dir, which can be written to."""
    cfg = read_config(args.config, args.cfg_options)
    if cfg.get('default_scope') in ('mmdet', 'mmpretrain'):
        import_datasets(cfg.default_scope)
    check_launcher(args.launcher)
    check_backends(cfg)
    cfg.launcher = args.launcher
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = os.path.join('work_dirs', Path(cfg.filename).stem)
    if not isinstance(cfg.work_dir, str):
        raise UserError(f'work_dir={cfg.work_dir!r} is no path: set it to a folder.')
    check_place(cfg.work_dir)
    return cfg


def check_launcher(launcher: str) -> None:
    """A launcher tells each process its rank in the environment."""
    variable = RANKS.get(launcher)
    if variable and variable not in os.environ:
        raise UserError(f'--launcher {launcher} is for processes that {LAUNCHED_BY[launcher]} starts '
                        f'({variable} is not in the environment): use that, or leave --launcher out.')


def add_options(p: argparse.ArgumentParser) -> None:
    """``--cfg-options`` of the tools that read a config."""
    p.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        metavar='KEY=VALUE',
        help='settings that override the config, for example '
        'optim_wrapper.optimizer.lr=0.02 train_dataloader.batch_size=2')


class Options(DictAction):
    """``KEY=VALUE`` pairs, as mmengine parses them."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        for value in values:
            if not value.partition('=')[0] or '=' not in value:
                parser.error(f'--cfg-options {value} is no KEY=VALUE: write '
                             'optim_wrapper.optimizer.lr=0.02, without spaces around the =')
        try:
            super().__call__(parser, namespace, values, option_string)
        except (ValueError, AssertionError, RecursionError) as error:
            parser.error(f'--cfg-options {" ".join(values)} cannot be read ({reason(error)}): put '
                         'strings with commas or brackets in a config')


def options(texts: Sequence[str]) -> dict:
    """``KEY=VALUE`` texts as ``--cfg-options`` reads them."""
    p = argparse.ArgumentParser()
    add_options(p)
    return p.parse_args(['--cfg-options', *texts] if texts else []).cfg_options or {}


def from_launcher(launcher: str, default: int, **variables: str) -> int:
    """A number that a launcher passes in the environment."""
    return int(os.environ.get(variables.get(launcher, ''), default))


def rank(launcher: str) -> int:
    """Number of this process among those of the launcher, from 0."""
    return from_launcher(launcher, 0, **RANKS)


def note(launcher: str, text: str) -> None:
    """Print a note once, whatever the number of processes."""
    if rank(launcher) == 0:
        print(f'note: {text}')


def world_size(launcher: str) -> int:
    """Processes that the launcher has started."""
    return from_launcher(
        launcher, 1, pytorch='WORLD_SIZE', slurm='SLURM_NTASKS', mpi='OMPI_COMM_WORLD_SIZE')
