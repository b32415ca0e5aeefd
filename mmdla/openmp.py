"""How OpenMP's threads wait for each other on a CPU, settled before torch is loaded."""
import os
import sys

SPINS = '1000'


def spin_briefly() -> None:
    """Let a thread that waits for the others spin for some ten microseconds before it sleeps.

    GNU OpenMP, which torch uses on Linux, spins for milliseconds by default and burns the core that a
    data-loader worker or another process needs, see docs/performance.md. OMP_WAIT_POLICY and
    GOMP_SPINCOUNT in the environment win. Once torch is loaded, it is too late, and nothing is set.
    """
    if 'torch' not in sys.modules and 'OMP_WAIT_POLICY' not in os.environ:
        os.environ.setdefault('GOMP_SPINCOUNT', SPINS)
