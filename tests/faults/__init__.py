"""The faults that tests/mutants.py plants, by the part of the package that they are in."""
from . import attention, gates, kernels, loading, operations, robustness, start, tools, triton, trunks
from .fault import Fault

FAULTS = [
    *attention.FAULTS, *gates.FAULTS, *operations.FAULTS, *kernels.FAULTS, *triton.FAULTS,
    *trunks.FAULTS, *loading.FAULTS, *tools.FAULTS, *robustness.FAULTS, *start.FAULTS
]

__all__ = ['FAULTS', 'Fault']
