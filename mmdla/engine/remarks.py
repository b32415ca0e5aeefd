"""What the hosts print and no user can act on."""
import io
import logging
import warnings
from contextlib import contextmanager, redirect_stdout
from typing import Iterator

from mmengine.logging import MMLogger


@contextmanager
def without_remarks() -> Iterator[None]:
    """A context without what the hosts say of their registries, visualizers and optional packages.

    The tools check beforehand what a user can act on.
    """
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.setLevel(level)
