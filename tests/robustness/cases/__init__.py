"""Bad inputs as data, by what is bad."""
from . import data, outputs
from .case import Case

CASES = [*data.CASES, *outputs.CASES]

__all__ = ['CASES', 'Case']
