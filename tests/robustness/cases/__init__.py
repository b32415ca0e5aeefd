"""Bad inputs as data, by what is bad."""
from . import checkpoints, configs, data, outputs, start, tools
from .case import Case

CASES = [*configs.CASES, *checkpoints.CASES, *data.CASES, *outputs.CASES, *start.CASES,
         *tools.CASES]

__all__ = ['CASES', 'Case']
