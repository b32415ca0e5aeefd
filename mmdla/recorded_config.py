"""The config that a checkpoint says its backbone was trained with, and the network of it."""
import inspect
from importlib import import_module
from typing import Iterator, Optional

from mmengine import registry
from torch import nn

from mmdla.errors import UserError, reason
from mmdla.literal_config import literal_config
from mmdla.names_before import present_config
from mmdla.registry import MODELS

HOSTS = ('mmdet', 'mmpretrain')
# of the hosts' classes those that are parts of a network and fetch nothing from elsewhere
LAYERS = ('mmdet.models.layers.', 'mmpretrain.models.utils.')


def trained_config(checkpoint) -> Optional[dict]:
    """The backbone's config that a checkpoint says it was trained with, if it says any.

    tools/convert/ writes it to ``meta['backbone']``; mmengine writes the whole config to
    ``meta['cfg']``.
    """
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    if not isinstance(meta, dict):
        return None
    if isinstance(meta.get('backbone'), dict):
        return meta['backbone']
    try:
        return literal_config(meta['cfg'], 'model')['backbone']
    except (KeyError, TypeError, ValueError, SyntaxError, MemoryError, RecursionError):
        return None  # no config, or no literal one


def build_trained(config: dict, filename: str) -> nn.Module:
    """The backbone of this package that a checkpoint's config describes, not initialised.

    A file may name anything as ``type``, and to build that is to call it: only registered layers are
    built.

    Raises:
        UserError: If a type in it, at any depth, is not one, or if it cannot be built.
    """
    for kind in types_in(config):
        if not is_layer(kind):
            raise UserError(
                f'checkpoint {filename} is of a backbone with {kind!r}, which is no registered layer: '
                'import the modules that register it (--imports of tools/convert/extract_backbone.py, '
                'custom_imports in a config), or do not trust this file.')
    try:
        return MODELS.build({**present_config(config), 'init_cfg': None})
    except Exception as error:
        raise UserError(f'checkpoint {filename} is of a backbone that cannot be built here '
                        f'({reason(error)}): use the version of mmdla that it was trained with, and '
                        'import the modules that register what it has besides.') from error


def types_in(value) -> Iterator:
    """What stands under ``type`` in a config, at any depth; initialisation is not run here.

    And whatever else could be more than a value: a setting of the registry itself, such as
    ``_scope_``, which names a module to import, or an object.
    """
    if isinstance(value, dict):
        for key, child in value.items():
            if key == 'type' or not isinstance(key, str) or key.startswith('_'):
                yield child if key == 'type' else key
            elif key != 'init_cfg':
                yield from types_in(child)
    elif isinstance(value, (list, tuple)):
        for child in value:
            yield from types_in(child)
    elif not isinstance(value, (str, int, float, type(None))):
        yield type(value)


def is_layer(name) -> bool:
    """Whether a type is registered, as a class that is a part of a network.

    Looks it up without ``Registry.get``, which imports and returns whatever a dotted name leads to.

    Args:
        name (str): A registered name, with its scope or without, or the class's full name, which
            mmengine records for ``type=CLASS``.
    """
    if not isinstance(name, str):
        return False
    registries = {'mmengine': registry.MODELS, 'mmdla': MODELS}
    registries.update((host, import_module(f'{host}.registry').MODELS) for host in HOSTS)
    import_module('mmcv.cnn')
    scope, _, rest = name.rpartition('.')
    found = []
    for own, models in registries.items():
        if own == name.split('.')[0] or not scope:
            models.import_from_location()
        for registered, kind in models.module_dict.items():
            if (scope in ('', own) and registered == rest) or full_name(kind) == name:
                found.append(kind)
    return bool(found) and all(map(is_part, found))


def full_name(kind) -> str:
    return f'{kind.__module__}.{kind.__qualname__}' if inspect.isclass(kind) else ''


def is_part(kind) -> bool:
    """Whether this is a class of layers that fetches nothing from elsewhere."""
    return inspect.isclass(kind) and issubclass(kind, nn.Module) and (
        kind.__module__.split('.')[0] not in HOSTS or kind.__module__.startswith(LAYERS))
