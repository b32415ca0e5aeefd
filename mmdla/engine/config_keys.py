"""Settings that do not exist: mmengine ignores an unknown name, and the run is another than meant."""
import inspect
from difflib import get_close_matches
from typing import Iterator

from mmengine.config import Config
from mmengine.runner import Runner

from mmdla.errors import UserError

OF_THE_RUNNER = {*inspect.signature(Runner.__init__).parameters} - {'self', 'cfg'} | {
    'auto_scale_lr', 'custom_imports', 'compile', 'activation_checkpointing',
    'efficient_conv_bn_eval', 'find_unused_parameters', 'model_wrapper_cfg', 'start_from', 'sync_bn',
    'tta_model', 'tta_pipeline', 'vis_backends'}
# names that configs use for their own variables are like these two
NEAR = OF_THE_RUNNER - {'tta_model', 'tta_pipeline'}


def check_names(cfg: Config, filename: str) -> None:
    """
    Raises:
        UserError: For a name in a config file that is nearly one of the runner's.
    """
    for name in cfg:
        near = name not in OF_THE_RUNNER and get_close_matches(name, NEAR, 1, cutoff=0.88)
        if near:
            raise UserError(f'config {filename} sets {name}, which nothing reads: did you mean '
                            f'{near[0]}?')


def check_options(cfg: Config, options: dict) -> None:
    """
    Args:
        cfg (Config): The config before it is merged with them.
        options (dict): Of ``--cfg-options``, values by dotted names.

    Raises:
        UserError: For a name that is neither in the config nor one of the runner's, or nearly that of
            a setting beside it.
    """
    for option in options:
        first, *rest = option.split('.')
        if first not in cfg and first not in OF_THE_RUNNER:
            raise UserError(f'--cfg-options {option}: there is no {first}{suggestion(cfg, option)}')
        node = cfg.get(first)
        for depth, name in enumerate(rest, 1):
            if isinstance(node, (list, tuple)) and name.isdigit() and int(name) < len(node):
                node = node[int(name)]
                continue
            if not isinstance(node, dict):
                break
            near = name not in node and get_close_matches(name, list(node), 1, cutoff=0.9)
            if near:
                meant = '.'.join([first, *rest[:depth - 1], near[0], *rest[depth:]])
                raise UserError(f'--cfg-options {option}: there is no {name} in '
                                f'{".".join([first, *rest[:depth - 1]])}; did you mean {meant}?')
            node = node.get(name)


def make_room(cfg: Config, options: dict) -> None:
    """Let ``init_cfg.checkpoint`` be set where a config has no init_cfg: mmengine merges dicts only.

    Args:
        cfg (Config): The config before it is merged with them.
        options (dict): Of ``--cfg-options``, values by dotted names.
    """
    for option in options:
        if not option.endswith('.init_cfg.checkpoint'):
            continue
        first, *rest = option.removesuffix('.init_cfg.checkpoint').split('.')
        node = cfg.get(first)
        for name in rest:
            node = node.get(name) if isinstance(node, dict) else None
        if isinstance(node, dict) and not node.get('init_cfg'):
            node['init_cfg'] = dict(type='Pretrained')


def suggestion(cfg: Config, option: str) -> str:
    """The setting that an unknown one may mean: of the same name deeper in the config, or nearly it."""
    first, *rest = option.split('.')
    deeper = [path for path in (*names_in(cfg), 'randomness.seed') if path.split('.')[-1] == first]
    if deeper and not rest:
        return f'; did you mean {min(deeper, key=lambda path: path.count("."))}?'
    near = get_close_matches(first, [*cfg, *OF_THE_RUNNER], 1, cutoff=0.6)
    return f'; did you mean {".".join([near[0], *rest])}?' if near else ' in the config.'


def names_in(node, prefix: str = '') -> Iterator[str]:
    """Dotted names of all settings in dictionaries."""
    for name, value in node.items():
        yield prefix + name
        if isinstance(value, dict):
            yield from names_in(value, f'{prefix}{name}.')
