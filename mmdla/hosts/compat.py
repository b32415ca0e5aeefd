"""Workarounds for differences between versions of the hosts (mmengine, mmdet, mmpretrain)."""
import io
from contextlib import redirect_stdout
from importlib import import_module


def import_datasets(host: str) -> None:
    """Import mmdet's or mmpretrain's data sets; OneDL's print what they miss of another product."""
    with redirect_stdout(io.StringIO()):
        import_module(f'{host}.datasets')
