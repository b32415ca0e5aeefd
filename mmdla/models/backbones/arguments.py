"""What the constructors of the backbones share."""
from inspect import signature
from typing import Callable, List, Tuple, Type, Union

from torch import nn

from mmdla.models.layers.context_unit import CONTEXT_UNITS, build_context_unit


def split_init_cfg(init_cfg: Union[dict, list, None]) -> Tuple[List[dict], List[dict]]:
    """The parts of an init_cfg that name a checkpoint, and the random ones."""
    cfgs = [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg or [])
    return [c for c in cfgs if 'checkpoint' in c], [c for c in cfgs if 'checkpoint' not in c]


def defaults(function: Callable) -> dict:
    """Its arguments that have a default."""
    return {name: parameter.default for name, parameter in signature(function).parameters.items()
            if parameter.default is not parameter.empty}


def meaning(interaction: Type[nn.Module], given: dict) -> dict:
    """Arguments of an interaction that its tensors' shapes do not tell, with their defaults.

    Those of its context unit are called ``context_unit.x``.
    """
    config = {**defaults(interaction), **given}
    if 'context_unit' in config:
        unit = {**defaults(build_context_unit), **(config.pop('context_unit') or {})}
        unit = {**defaults(CONTEXT_UNITS[unit['type']]), **unit}
        config.update({f'context_unit.{name}': value for name, value in unit.items()})
    told = ('drop_path_rate', 'context_unit.reduction')
    return {name: value for name, value in config.items() if name not in told}
