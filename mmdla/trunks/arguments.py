"""What the constructors of the backbones share."""
from inspect import signature
from typing import Callable, Optional

from mmdla.attention.context_unit import context_unit_class
from mmdla.attention.interaction import interaction_class


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
