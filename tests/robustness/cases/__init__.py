"""Bad inputs as data, by what is bad."""
from . import outputs, tools
from .case import Case

CASES = [*outputs.CASES, *tools.CASES]

__all__ = ['CASES', 'Case']
