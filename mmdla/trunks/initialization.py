"""Initialisation at the end of the constructor. mmengine's modules leave it to the Runner."""
import warnings
from abc import ABCMeta
from contextlib import contextmanager
from typing import Iterator

import torch
from mmengine.logging import MMLogger
from torch import nn

from mmdla.errors import UserError


class InitializesAtTheEnd(ABCMeta):
    """Calls ``initialize`` when the outermost constructor is done."""

    def __call__(cls, *args, **kwargs):
        model = super().__call__(*args, **kwargs)
        model.initialize()
        return model


def needs_start(trunk: nn.Module, *args) -> None:
    """A forward pre-hook of a trunk whose weights are not loaded yet.

    Raises:
        UserError: In training.
    """
    names = ', '.join(str(cfg['checkpoint']) for cfg in trunk.not_loaded)
    sentence = (f'{type(trunk).__name__} has random weights, since {names} of its init_cfg is not '
                'loaded: call init_weights(), or load a state dict.')
    if trunk.training and torch.is_grad_enabled():
        raise UserError(sentence)
    forget_start(trunk)
    warnings.warn(sentence, stacklevel=2)


def forget_start(trunk: nn.Module, *args) -> None:
    """Take the hook above away; also a hook of load_state_dict."""
    for key, hook in list(trunk._forward_pre_hooks.items()):
        if hook is needs_start:
            del trunk._forward_pre_hooks[key]


@contextmanager
def without_false_warning() -> Iterator[None]:
    """A context without some hosts' warning that there are no weights: here they are loaded later."""
    logger = MMLogger.get_current_instance()

    def is_true(record) -> bool:
        return not record.getMessage().startswith('No pre-trained weights')

    logger.addFilter(is_true)
    try:
        yield
    finally:
        logger.removeFilter(is_true)
