"""``mmdla::NAME.py`` for this package's configs, as mmengine has it for its list of packages.

mmengine takes ``package::folder/file.py`` in ``_base_`` only, from the packages of its list, wants a
folder, and gives what comes from there the package's scope, in which the hosts' types are unknown. So
that the names of this package are resolved here: in ``_base_`` and in ``Config.fromfile``, with a folder
(``mmdla::imagenet/dla_l50_8xb32_in1k.py``) or without (``mmdla::faster_rcnn_dla_l50_1x_coco.py``).

mmdla must be imported first, as it is in its tools, in ``python -m mmdla SCRIPT.py`` and after
``import mmdla``: a script of the hosts reads the whole config before its ``custom_imports``.
"""
from pathlib import Path
from typing import Optional, Tuple, Union

import mmengine.config.utils
from mmengine.config import Config

from mmdla.errors import UserError

PREFIX = 'mmdla::'
CONFIGS = Path(__file__).parents[1] / '.mim' / 'configs'


def config_path(name: str) -> str:
    """The path of one of this package's configs, in a clone and in an installed package.

    Args:
        name (str): As in the README's tables, such as ``faster_rcnn_dla_l50_1x_coco.py`` or
            ``imagenet/dla_l50_8xb32_in1k.py``; ``mmdla::`` ahead of it and ``.py`` are optional.

    Raises:
        UserError: If there is none of that name.
    """
    name = str(name).removeprefix(PREFIX).removesuffix('.py')
    folder = CONFIGS.resolve()
    path = (folder / f'{name}.py').resolve()
    if folder not in path.parents or not path.is_file():
        raise UserError(
            f'there is no config {name}.py in mmdla: see the tables of configs in the README.')
    return str(path)


def register() -> None:
    """Have mmengine resolve the names that begin with ``mmdla::``."""
    mmengine.config.utils.MODULE2PACKAGE.setdefault('mmdla', 'mmdla')
    if getattr(Config, 'resolves_mmdla', False):
        return
    base_path, from_file = Config._get_cfg_path, Config.fromfile

    def _get_cfg_path(cfg_path: str, filename: str) -> Tuple[str, Optional[str]]:
        if cfg_path.startswith(PREFIX):
            return config_path(cfg_path), None
        return base_path(cfg_path, filename)

    def fromfile(filename: Union[str, Path], *args, **kwargs) -> Config:
        if str(filename).startswith(PREFIX):
            filename = config_path(filename)
        return from_file(filename, *args, **kwargs)

    fromfile.__doc__ = from_file.__doc__
    Config._get_cfg_path, Config.fromfile = staticmethod(_get_cfg_path), staticmethod(fromfile)
    Config.resolves_mmdla = True
