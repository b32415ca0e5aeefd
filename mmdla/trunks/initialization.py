"""Initialisation at the end of the constructor. mmengine's modules leave it to the Runner."""
import os
import warnings
from abc import ABCMeta
from contextlib import contextmanager
from copy import deepcopy
from itertools import dropwhile
from typing import Iterator, List, Sequence

import torch
from mmengine.logging import MMLogger
from torch import nn

from mmdla.errors import UserError
from mmdla.pretrained import load_backbone


class InitializesAtTheEnd(ABCMeta):
    """Calls ``initialize`` when the outermost constructor is done."""

    def __call__(cls, *args, **kwargs):
        model = super().__call__(*args, **kwargs)
        model.initialize()
        return model


class Initialized(metaclass=InitializesAtTheEnd):
    """A mixin ahead of a host's backbone, which is initialised when its constructor returns.

    Checkpoints that init_cfg names are loaded then, too, where they are files that exist. Others, which
    must be downloaded or do not exist, wait for :meth:`init_weights`, which the Runner calls before
    training and not before testing: the first forward pass without them is an error in training and a
    warning otherwise.

    Attributes:
        pretrained_cfgs (list[dict]): Parts of init_cfg that name a checkpoint.
        not_loaded (list[dict]): Those that wait.
    """

    pretrained_cfgs: Sequence[dict] = ()
    not_loaded: List[dict] = []

    def initialize(self) -> None:
        """Initialise all parameters, unless on the meta device. Called once, by the constructor."""
        if any(parameter.is_meta for parameter in self.parameters()):
            return
        built = [(layer, deepcopy(layer.state_dict())) for layer in self.plugin_layers().values()]
        if not self.is_init:  # as a host's class is that has loaded weights
            with without_false_warning():
                super().init_weights()
        for layer, tensors in built:  # plugins keep their own initialisation
            layer.load_state_dict(tensors)
        for attention in self.attention:
            attention.init_weights(self.attention_init)
        self.not_loaded = list(dropwhile(self.load_file, self.pretrained_cfgs))
        self.is_init = not self.not_loaded
        if self.not_loaded:
            self.register_forward_pre_hook(needs_start)

    def load_file(self, cfg: dict) -> bool:
        """Load a checkpoint if it is a file that exists; whether it is."""
        exists = os.path.isfile(str(cfg['checkpoint']))
        if exists:
            load_backbone(self, cfg['checkpoint'], cfg.get('prefix'))
        return exists

    def init_weights(self) -> None:
        """Load the checkpoints of init_cfg that the constructor has not loaded."""
        for cfg in self.not_loaded:
            load_backbone(self, cfg['checkpoint'], cfg.get('prefix'))
        self.not_loaded = []
        self.is_init = True
        forget_start(self)

    def _dump_init_info(self) -> None:
        """No report of mmengine's, a line for each parameter."""


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
