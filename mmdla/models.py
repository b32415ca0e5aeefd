"""Everything of this package that a config can name as a model or a part of one."""
from mmdla import attention, gates, trunks
from mmdla.attention import *  # noqa: F403
from mmdla.datasets import cifar_preprocessor  # noqa: F401  registers CIFARDataPreprocessor
from mmdla.gates import *  # noqa: F403
from mmdla.trunks import *  # noqa: F403

__all__ = sorted([*attention.__all__, *gates.__all__, *trunks.__all__])
