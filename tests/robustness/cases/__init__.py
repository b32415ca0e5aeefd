"""Bad inputs as data, by what is bad."""
from . import checkpoints, configs, data, outputs, tools
from .case import Case

CASES = [*configs.CASES, *checkpoints.CASES, *data.CASES, *outputs.CASES, *tools.CASES]

__all__ = ['CASES', 'Case']
