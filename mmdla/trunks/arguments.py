"""What the constructors of the backbones share."""
from inspect import signature
from math import gcd
from typing import Callable, Optional, Sequence

from mmcv.cnn.bricks import DropPath
from torch import nn

from mmdla.attention.context_unit import context_unit_class
from mmdla.attention.interaction import interaction_class
from mmdla.errors import UserError


def defaults_of(function: Callable) -> dict:
    """Its arguments that have a default."""
    return {name: parameter.default for name, parameter in signature(function).parameters.items()
            if parameter.default is not parameter.empty}


def interaction_arguments(config: Optional[dict], defaults: dict) -> dict:
    """Arguments of an interaction that do not affect its tensors' shapes, with their defaults.

    Those of its context unit are called ``context_unit.x``.
    """
    cls = interaction_class(config)
    arguments = {**defaults_of(cls), **defaults, **(config or {})}
    if 'context_unit' in arguments:
        given = arguments.pop('context_unit')
        unit = context_unit_class(given, cls.default_unit)
        values = {**defaults_of(unit), **(given or {}), 'type': unit.__name__}
        arguments.update({f'context_unit.{name}': value for name, value in values.items()
                          if name not in unit.not_compared})
    compared = {name: value for name, value in arguments.items()
                if name not in ('type', *cls.not_compared)}
    return {**compared, 'interaction': cls.__name__} if config else compared


def dim_per_head(config: Optional[dict], defaults: dict, channels: Sequence[int]) -> dict:
    """Defaults of an interaction with a ``dim_per_head`` that divides the channels of every stage."""
    own = {**defaults_of(interaction_class(config)), **defaults}
    if 'dim_per_head' not in own:
        return defaults
    return {**defaults, 'dim_per_head': gcd(own['dim_per_head'], *channels)}


def check_outputs(arguments: dict, stages: int) -> None:
    """
    Args:
        arguments (dict): Of a backbone, ``out_indices`` may be among them.
        stages (int): That it has.

    Raises:
        UserError: If ``out_indices`` names one that it does not have.
    """
    given = arguments.get('out_indices', ())
    if not isinstance(given, (list, tuple)) or not set(given) <= set(range(stages)):
        raise UserError(f'out_indices={given!r} must be a tuple of stages, from 0 to {stages - 1}.')


def norm_on_maps(norm_cfg: dict) -> dict:
    """The norm of a trunk for maps (B, C, H, W): LN over the channels of each pixel."""
    return {**norm_cfg, 'type': 'mmpretrain.LN2d'} if norm_cfg['type'] in ('LN', 'LN2d') else norm_cfg


def without_numpy(model: nn.Module) -> None:
    """Make the rates of DropPath floats: NumPy's break torch.compile's graph."""
    for module in model.modules():
        if isinstance(module, DropPath):
            module.drop_prob = float(module.drop_prob)
