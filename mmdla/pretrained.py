"""Loading of backbone weights that never leaves a part of them at random unnoticed."""
import logging
import os
from collections import OrderedDict
from typing import Dict, List, NamedTuple, Optional

import torch
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from mmdla.errors import UserError, reason
from mmdla.names_before import present_names
from mmdla.namings import namings_of, present
from mmdla.recorded_config import build_trained, trained_config

HEADS = ('fc.', 'head.')
ATTENTION = 'attention.'


def read_checkpoint(filename: str):
    """What a checkpoint file holds.

    Args:
        filename (str): A path, or an address that mmengine knows (https://, torchvision://).

    Raises:
        UserError: If the file is missing, is no checkpoint, or would run code, see
            mmdla/hosts/checkpoints.py.
    """
    try:
        return CheckpointLoader.load_checkpoint(filename, map_location='cpu', logger='silent')
    except UserError:
        raise
    except Exception as error:
        raise UserError(f'checkpoint {filename} cannot be fetched ({reason(error)}): check its name '
                        'and the connection.') from error


def state_dict_of(checkpoint, filename: str) -> Dict[str, Tensor]:
    """The tensors of a checkpoint: bare or under ``state_dict``, without ``module.``.

    Names of earlier versions become the present ones, with a note.

    Raises:
        UserError: If there are none, or if they are not finite.
    """
    for key in ('state_dict', 'model'):
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get(key), dict):
            checkpoint = checkpoint[key]
    tensors = isinstance(checkpoint, dict) and OrderedDict(
        (key.removeprefix('module.'), value) for key, value in checkpoint.items()
        if isinstance(value, Tensor))
    if not tensors:
        raise UserError(f'checkpoint {filename} holds no tensors: check that it is a PyTorch '
                        'checkpoint of a model.')
    bad = not_finite(tensors)
    if bad:
        raise UserError(f'checkpoint {filename} is of a run that diverged: {len(bad)} of its '
                        f'{len(tensors)} tensors are not finite ({shorten(bad)}): use an earlier one.')
    return under_present_names(tensors)


def not_finite(tensors: Dict[str, Tensor]) -> List[str]:
    """Names of the tensors with NaN or infinity in them."""
    return [name for name, value in tensors.items()
            if isinstance(value, Tensor) and not torch.isfinite(value).all()]


def under_present_names(tensors: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Tensors with names of earlier versions under their present ones, and a note in the log."""
    names = present_names(tensors)
    if names:
        print_log(f'{len(names)} tensors with names of mmdla 0.1 were renamed, such as '
                  f'{" to ".join(next(iter(names.items())))}', 'current', logging.INFO)
    return OrderedDict((names.get(name, name), tensor) for name, tensor in tensors.items())


def read_state_dict(filename: str) -> Dict[str, Tensor]:
    """The tensors in a checkpoint file, see :func:`read_checkpoint` and :func:`state_dict_of`."""
    return state_dict_of(read_checkpoint(filename), filename)


def shorten(names: List[str], most: int = 5) -> str:
    """The first names and how many more there are."""
    names = list(names)
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(names[:most]) + more


def mismatches(own: Dict[str, Tensor], given: Dict[str, Tensor], most: int = 5) -> List[str]:
    """What keeps ``given`` from filling ``own`` whole, in words.

    A norm's ``num_batches_tracked`` may be missing: old checkpoints have none.
    """
    missing = [k for k in own if k not in given and not k.endswith('num_batches_tracked')]
    unknown = [k for k in given if k not in own]
    shapes = [
        f'{k} {tuple(given[k].shape)} instead of {tuple(own[k].shape)}' for k in own
        if k in given and given[k].shape != own[k].shape
    ]
    return [
        f'{len(names)} {what} ({shorten(names, most)})'
        for what, names in (('missing', missing), ('unknown', unknown), ('of another shape', shapes))
        if names
    ]


def missing_start(filename: str, zero: bool) -> UserError:
    """The error for a missing pretrained backbone, with what to do instead.

    Args:
        filename (str): The file.
        zero (bool): Whether the backbone supports ``attention_init='zero'``.
    """
    ways = [
        'pretrain it with the classification config of this backbone (configs/imagenet/, '
        'configs/comparison/) and write '
        f'it with tools/convert/extract_backbone.py CLASSIFIER {filename}',
        'name another file in init_cfg (--cfg-options model.backbone.init_cfg.checkpoint=FILE)'
    ]
    if zero:
        ways.append('start from a checkpoint of the plain trunk with attention_init=\'zero\' (ready '
                    'with torchvision\'s ResNet-50: configs/faster_rcnn_dla_l50_r50init_1x_coco.py)')
    return UserError(f'checkpoint {filename} does not exist, from which the backbone starts: check '
                     f'the path, or {", or ".join(ways)}.')


def check_arguments(backbone: nn.Module, config: Optional[dict], filename: str) -> None:
    """Compare the arguments that do not affect the tensors' shapes, so that a state_dict cannot tell.

    Args:
        backbone (nn.Module): To be filled; only those of this package have such arguments.
        config (dict, optional): Of the backbone that the tensors were trained in.
        filename (str): Of the checkpoint.

    Raises:
        UserError: For the first one that differs.
    """
    if not (config and str(config.get('type')).startswith('mmdla.')):
        return
    theirs = build_trained(config, filename).non_shape_arguments
    for name, value in getattr(backbone, 'non_shape_arguments', {}).items():
        if name in theirs and theirs[name] != value:
            raise UserError(
                f'checkpoint {filename} was trained with {name}={theirs[name]!r}, and this backbone '
                f'has {name}={value!r}: set {name}={theirs[name]!r} in the backbone, or use a '
                'checkpoint that was trained with its own value.')


def load_backbone(backbone: nn.Module, filename: str, prefix: Optional[str] = None) -> None:
    """Fill a backbone from a checkpoint of a backbone, classifier or detector.

    What it asks the backbone is in :class:`mmdla.trunks.trunk.Trunk`.

    Says how many tensors it took. Tensors of a classifier's head are left aside. An ordinary
    checkpoint of the trunk is accepted with ``attention_init='zero'`` and where plugins leave their
    input as it is, so that the network starts as exactly that trunk. Names of torchvision, timm and
    others that :mod:`mmdla.namings` knows are recognised. Position embeddings of another size are
    resized.

    Args:
        backbone (nn.Module): One of this package's backbones, a :class:`mmdla.trunks.trunk.Trunk`.
        filename (str): A path, or an address that mmengine knows.
        prefix (str, optional): Of the backbone's tensors in the file. By default 'backbone.'
            where there are such tensors, else none.

    Raises:
        UserError: If the file is missing or unreadable, does not fill the backbone whole, or says
            that it was trained with arguments that shapes do not tell and that differ.
    """
    if not hasattr(backbone, 'can_start_plain'):
        raise UserError(f'{type(backbone).__name__} is no backbone of mmdla: give that of the network, '
                        'network.backbone.')
    if '://' not in filename and not os.path.isfile(filename):
        raise missing_start(filename, backbone.can_start_plain)
    given, rest, naming, resized = fitting(backbone, read_checkpoint(filename), filename, prefix)
    backbone.load_state_dict(given, strict=False)
    norms = [name for name in rest if name.startswith(backbone.output_norms)]
    attention = len(rest) - len(norms)
    print_log(
        f'backbone: {len(given)} of {len(backbone.state_dict())} tensors loaded from {filename}' +
        (f' (names of {naming})' if naming else '') +
        (f'; {len(resized)} resized for other images or windows ({shorten(resized, 2)})'
         if resized else '') +
        (f'; {len(norms)} of norms of outputs, which a classifier does not have, keep their start'
         if norms else '') +
        (f'; the other {attention}, attention, start at zero effect' if attention else ''),
        'current', logging.INFO)


class Fitting(NamedTuple):
    """What a checkpoint has for a backbone.

    Attributes:
        tensors (dict[str, Tensor]): By the backbone's names.
        left (list[str]): Its other tensors, at zero effect or norms of outputs that a classifier lacks.
        naming (str, optional): Whose names the checkpoint has; None for the backbone's own.
        resized (list[str]): Of the tensors those that had another size.
    """

    tensors: Dict[str, Tensor]
    left: List[str]
    naming: Optional[str]
    resized: List[str]


def fitting(backbone: nn.Module, checkpoint, filename: str,
            prefix: Optional[str] = None) -> Fitting:
    """The tensors of a checkpoint that fill a backbone, and what they leave.

    Arguments and errors are :func:`load_backbone`'s; ``checkpoint`` is what the file holds.
    """
    tensors = state_dict_of(checkpoint, filename)
    if prefix is None:
        prefix = 'backbone.' if any(k.startswith('backbone.') for k in tensors) else ''
    elif prefix and not prefix.endswith('.'):
        prefix += '.'
    given = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    given, naming = present(given, namings_of(type(backbone)))
    if prefix == '':
        given = {k: v for k, v in given.items() if not k.startswith(HEADS)}
    backbone.check_naming(naming, filename)
    ignored = backbone.ignored_prefixes
    given = {k: v for k, v in given.items() if not k.startswith(ignored)}
    resized = backbone.fit(given, filename)
    own = backbone.state_dict()
    trunk = {k: v for k, v in own.items() if not k.startswith(ATTENTION)}
    plain = not any(k.startswith(ATTENTION) for k in given)
    expected = trunk if plain and backbone.starts_plain else own
    neutral = tuple(f'{name}.' for name in backbone.identity_plugins())
    if not any(k.startswith(neutral) for k in given):
        expected = {k: v for k, v in expected.items() if not k.startswith(neutral)}
    if not any(k.startswith(backbone.output_norms) for k in given):
        expected = {k: v for k, v in expected.items() if not k.startswith(backbone.output_norms)}
    problems = mismatches(expected, given)
    if problems:
        inside = tuple(f'{name}.' for name in backbone.plugin_layers())
        ordinary = {k: v for k, v in trunk.items() if not k.startswith(inside)}
        hint = 'use the checkpoint of this architecture, variant and context unit'
        if any('mrla' in k or 'layer_attention' in k for k in tensors):
            hint = 'it is in a released layout: convert it with tools/convert/released_to_mmdla.py'
        elif plain and not mismatches(ordinary, given):
            hint = ('it is of the plain network: set attention_init=\'zero\' in the '
                    'backbone to start from it'
                    if backbone.can_start_plain and not backbone.starts_plain else
                    'it is of the plain network, without the attention of this backbone')
        raise UserError(f'checkpoint {filename} does not fit {backbone.title}, '
                        f'tensors: {"; ".join(problems)}: {hint}.')
    if prefix in ('', 'backbone.'):
        check_arguments(backbone, trained_config(checkpoint), filename)
    return Fitting(given, [name for name in own if name not in expected], naming, resized)


def check_fit(model: nn.Module, filename: str, checkpoint, part: str = '') -> None:
    """Stop at a checkpoint that does not fill the model, or the part of it named by a prefix.

    Args:
        model (nn.Module): A detector or classifier.
        filename (str): Of the checkpoint.
        checkpoint: What :func:`read_checkpoint` returned for it.
        part (str): Prefix of the names that must match.

    Raises:
        UserError: With what is missing, unknown or of another shape, or the backbone's argument
            that differs where shapes do not tell.
    """
    tensors = state_dict_of(checkpoint, filename)
    own, given = ({k: v for k, v in t.items() if k.startswith(part)}
                  for t in (model.state_dict(), tensors))
    problems = mismatches(own, given)
    if problems:
        raise UserError(f'checkpoint {filename} does not fit the config\'s {type(model).__name__}, '
                        f'tensors: {"; ".join(problems)}: use the config that it was trained with.')
    check_arguments(model.backbone, trained_config(checkpoint), filename)
