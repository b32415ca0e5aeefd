"""Bad inputs as data, by what is bad."""
from . import outputs
from .case import Case

CASES = [*outputs.CASES]

__all__ = ['CASES', 'Case']
