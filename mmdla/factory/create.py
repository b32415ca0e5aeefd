"""Networks by name, as timm has them."""
import os
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import List, Optional, Sequence, Union

from torch import nn

import mmdla.models  # noqa: F401  registers what the networks are made of
from mmdla.errors import UserError
from mmdla.pretrained import (
    check_arguments,
    load_backbone,
    mismatches,
    read_checkpoint,
    state_dict_of,
)
from mmdla.recorded_config import trained_config

from .architectures import architectures
from .networks import Classifier, FeatureNet


def list_models(filter: str = '*', exclude: Union[str, Sequence[str]] = ()) -> List[str]:
    """Names for :func:`create_model`, sorted, with depth 50 before 101.

    Args:
        filter (str): With wildcards, such as ``'dla_l*'`` or ``'*_cifar'``.
        exclude (str or sequence of str): With wildcards, too.
    """
    exclude = (exclude, ) if isinstance(exclude, str) else exclude
    names = [name for name in architectures() if fnmatch(name, filter)
             and not any(fnmatch(name, pattern) for pattern in exclude)]
    return sorted(names, key=lambda name: [int(part) if part.isdigit() else part
                                           for part in re.split(r'(\d+)', name)])


def create_model(name: str,
                 pretrained: Union[bool, str, Path] = False,
                 num_classes: Optional[int] = None,
                 features_only: bool = False,
                 out_indices: Optional[Sequence[int]] = None,
                 **kwargs) -> nn.Module:
    """A network by name: that of the classification config, initialised, in training mode.

    Args:
        name (str): One of :func:`list_models`.
        pretrained (bool or str): The path of a checkpoint, which must fill the network whole: of
            ``tools/train.py``, or with a backbone alone where the network has no head. No weights are
            published, so that True is an error.
        num_classes (int, optional): 1000 by default, 100 for CIFAR; 0 for features (B, C). Of no effect
            with ``features_only=True``, where there is no head.
        features_only (bool): Whether the network returns a list of maps and has no head.
        out_indices (sequence of int, optional): Which maps: of the stages, or of the blocks of a vision
            transformer.
        **kwargs: Other arguments of the backbone, such as ``attention_init='zero'``,
            ``frozen_stages=1``, ``with_cp=True``.

    Returns:
        nn.Module: :class:`mmdla.factory.networks.Classifier`, which returns logits (B, num_classes) of
        images (B, 3, H, W), or :class:`mmdla.factory.networks.FeatureNet`.

    Raises:
        UserError: For an unknown name, an argument that is out of its range, or a checkpoint that does
            not fit.

    Example:
        >>> import mmdla, torch
        >>> model = mmdla.create_model('dla_l18', features_only=True, out_indices=(1, 3)).eval()
        >>> model.feature_info.channels(), model.feature_info.reduction()
        ([128, 512], [8, 32])
        >>> [tuple(x.shape) for x in model(torch.rand(1, 3, 64, 96))]
        [(1, 128, 8, 12), (1, 512, 2, 3)]
    """
    if name not in architectures():
        raise UserError(f'there is no network {name!r}: mmdla.list_models() has their names.')
    if 'in_chans' in kwargs:
        raise UserError(f'in_chans is timm\'s name: write in_channels={kwargs["in_chans"]!r}.')
    if pretrained is True:
        raise UserError(f'no weights of {name} are published: give a path, pretrained=FILE.')
    if pretrained and '://' not in str(pretrained) and not os.path.isfile(pretrained):
        raise UserError(f'checkpoint {pretrained} does not exist: check the path.')
    architecture = architectures()[name]
    if features_only:
        model = FeatureNet(architecture, out_indices, **kwargs)
    elif out_indices is not None:
        raise UserError('out_indices is an argument of features_only=True: add it.')
    else:
        classes = architecture.num_classes if num_classes is None else num_classes
        model = Classifier(architecture, classes, **kwargs)
    if pretrained:
        if features_only or not model.num_classes:
            load_backbone(model.backbone, str(pretrained))
        else:
            load_classifier(model, name, str(pretrained))
    return model


def load_classifier(model: Classifier, name: str, filename: str) -> None:
    """Fill a classifier from a checkpoint of a classifier.

    Raises:
        UserError: If it does not fill it whole, or says that it was trained with arguments that shapes
            do not tell and that differ.
    """
    checkpoint = read_checkpoint(filename)
    tensors = state_dict_of(checkpoint, filename)
    problems = mismatches(model.state_dict(), tensors)
    if problems:
        raise UserError(
            f'checkpoint {filename} does not fit {name} with {model.num_classes} classes, tensors: '
            f'{"; ".join(problems)}: give the name, the num_classes and the arguments that it was '
            'trained with; mmdla.load_backbone(model.backbone, FILE) fills the backbone alone.')
    check_arguments(model.backbone, trained_config(checkpoint), filename)
    model.load_state_dict(tensors, strict=False)  # old checkpoints have no num_batches_tracked
