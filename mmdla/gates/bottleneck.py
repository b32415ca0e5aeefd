"""Width of the bottlenecks of gates and context units."""
from mmdla.errors import UserError


def bottleneck(channels: int, reduction: int) -> int:
    """C // r.

    Raises:
        UserError: If nothing would be left.
    """
    if not 1 <= reduction <= channels:
        raise UserError(f'reduction={reduction} leaves no hidden channel in a stage of '
                        f'{channels} channels: choose a value from 1 to {channels}.')
    return channels // reduction
