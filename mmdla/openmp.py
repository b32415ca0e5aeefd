"""How OpenMP's threads wait for each other on a CPU, settled before torch is loaded."""
import os
import sys

SPINS = '1000'


def spin_briefly() -> None:
    """Let a thread that waits for the others look about 10 microseconds long before it sleeps.

    GNU OpenMP, which torch has on Linux, looks for milliseconds by default and burns the core that a
    data-loader worker or another process needs, see docs/performance.md. An OMP_WAIT_POLICY or a
    GOMP_SPINCOUNT of the environment wins; where torch is loaded already, it is too late.
    """
    if 'torch' not in sys.modules and 'OMP_WAIT_POLICY' not in os.environ:
        os.environ.setdefault('GOMP_SPINCOUNT', SPINS)
