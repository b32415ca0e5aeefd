"""Starting from a whole trained model: the plain one, which then gets layer attention, or the same."""
import logging
import os
from copy import deepcopy
from typing import Dict, List, NamedTuple, Optional, Sequence

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmdla.engine.data_config import datasets_of
from mmdla.engine.preflight import known_classes, lower, recorded_classes
from mmdla.errors import UserError, reason
from mmdla.literal_config import literal_config
from mmdla.pretrained import fitting, mismatches, shorten, state_dict_of
from mmdla.recorded_config import trained_config
from mmdla.trunks.trunk import Trunk

BACKBONE = 'backbone.'
NORMALISATION = ('mean', 'std', 'bgr_to_rgb', 'to_rgb')


class Start(NamedTuple):
    """What a model takes over from a checkpoint, which fits it.

    Attributes:
        filename (str): Of the checkpoint.
        tensors (dict[str, Tensor]): By their names in the model.
        fresh (list[str]): Tensors of attention that start at zero effect.
        remade (list[str]): Tensors that keep their initialisation, since they depend on the classes.
        why (str): In which way the classes differ.
        norms (sequence of str): Tensors of norms of outputs, which a classifier lacks: they keep their
            initialisation.
    """

    filename: str
    tensors: Dict[str, Tensor]
    fresh: List[str]
    remade: List[str]
    why: str
    norms: Sequence[str] = ()

    def fill(self, model: nn.Module) -> None:
        """Put the tensors in."""
        model.load_state_dict(self.tensors, strict=False)
        print_log(str(self), 'current', logging.INFO)

    def __str__(self) -> str:
        taken, whole = len(self.tensors), len(self.tensors) + len(self.remade)
        parts = [f'started from {self.filename}: {taken} of {whole} tensors taken']
        if self.fresh:
            parts.append(f'attention ({len(self.fresh)} tensors) starts at zero effect')
        if self.norms:
            parts.append(f'{len(self.norms)} of norms of outputs, which a classifier does not have, '
                         'keep their start')
        if self.remade:
            parts.append(f'made anew, since {self.why}: {shorten(self.remade, 20)}')
        return '; '.join(parts)


def settle(cfg: Config, given: Optional[str]) -> None:
    """Write the detector or classifier to start from into the config.

    Args:
        cfg (Config): Its ``start_from`` names one already, or none.
        given (str, optional): The option, which overrides the config.

    Raises:
        UserError: If it is no path, or if the config has ``load_from`` too.
    """
    filename = given or cfg.get('start_from')
    if not filename:
        return
    if not isinstance(filename, str):
        raise UserError(f'start_from={filename!r} is no path: set it to a checkpoint.')
    if cfg.get('load_from'):
        raise UserError(f'both start_from={filename} and load_from={cfg.load_from} are set: choose one, '
                        'with --cfg-options load_from=None for example.')
    cfg.start_from = filename


def prepare(cfg: Config) -> None:
    """Leave out the backbone's own start, which is not needed, once it is clear that this one is there.

    Raises:
        UserError: If the file does not exist.
    """
    if '://' not in cfg.start_from and not os.path.isfile(cfg.start_from):
        raise UserError(f'the trained model {cfg.start_from} does not exist: name the checkpoint of a '
                        'detector or classifier with --start-from FILE.')
    leave_out_backbones(cfg)


def leave_out_backbones(cfg: Config) -> None:
    """Keep the backbone's constructor from loading its own start, for a model that is loaded whole."""
    if cfg.model.get('backbone'):
        cfg.model.backbone.init_cfg = None


def fit(model: nn.Module, cfg: Config, checkpoint, split: str) -> Start:
    """What a model takes over from a trained one; the model is not changed.

    Args:
        model (nn.Module): The config's detector or classifier.
        cfg (Config): With ``start_from``.
        checkpoint: What the file holds.
        split (str): Of the data set whose classes count, 'train' or 'test'.

    Raises:
        UserError: If something is missing, unknown or of another shape, but for what depends on the
            number of classes.
    """
    filename = cfg.start_from
    tensors, backbone = state_dict_of(checkpoint, filename), getattr(model, 'backbone', None)
    trunk, left, norms = {}, [], ()
    if isinstance(backbone, Trunk):
        if not any(name.startswith(BACKBONE) for name in tensors):
            raise UserError(
                f'checkpoint {filename} has no tensors {BACKBONE}*: --start-from takes that of a whole '
                'detector or classifier, and model.backbone.init_cfg.checkpoint that of a backbone.')
        check_style(backbone, checkpoint, filename)
        trunk, left, _, resized = fitting(backbone, checkpoint, filename, BACKBONE)
        if resized:
            raise UserError(
                f'checkpoint {filename} was trained with other windows or images '
                f'({shorten(resized, 2)} have another size), so that the model would not compute what '
                'it did: set window_size or img_size of the backbone to the checkpoint\'s.')
        norms = backbone.output_norms
    taken_by_trunk = BACKBONE if isinstance(backbone, Trunk) else ()
    own, given = ({name: value for name, value in state.items() if not name.startswith(taken_by_trunk)}
                  for state in (model.state_dict(), tensors))
    remade, why = of_other_classes(own, given, cfg, checkpoint, split)
    own, given = ({name: value for name, value in state.items() if name not in remade}
                  for state in (own, given))
    problems = mismatches(own, given)
    if problems:
        raise UserError(f'checkpoint {filename} does not fit the config\'s {type(model).__name__}, '
                        f'tensors: {"; ".join(problems)}: start from the same model, without or with '
                        'layer attention; only the number of its classes may be another.')
    return Start(filename, {**{BACKBONE + name: value for name, value in trunk.items()}, **given},
                 [BACKBONE + name for name in left if not name.startswith(norms)],
                 [name for name in model.state_dict() if name in remade], why,
                 [BACKBONE + name for name in left if name.startswith(norms)])


def of_other_classes(own: Dict[str, Tensor], given: Dict[str, Tensor], cfg: Config, checkpoint,
                     split: str) -> tuple:
    """The tensors to make anew, none where the classes are the same, and how the classes differ.

    Args:
        own (dict[str, Tensor]): Of the heads of the model.
        given (dict[str, Tensor]): Of those of the checkpoint.
        cfg (Config): Of the model.
        checkpoint: What the file holds.
        split (str): Of the data set whose classes count.

    Returns:
        tuple: Set of names, and words.
    """
    why = difference(cfg, checkpoint, split)
    others = {name for name in own if name in given and own[name].shape != given[name].shape}
    if not (why or others):
        return set(), ''
    wider = shapes_with_one_more_class(cfg)
    remade = {name for name in own if name in given and
              differ_by_classes(own[name].shape, wider.get(name), given[name].shape)}
    if why and not remade and not mismatches(own, given):
        raise UserError(f'{why}, and nothing in the model depends on a num_classes of the config: set '
                        'it in the head.')
    return (remade, why or 'the number of classes differs') if why or others & remade else (set(), '')


def difference(cfg: Config, checkpoint, split: str) -> str:
    """How the data set's classes differ from those a checkpoint was trained on, as far as known."""
    recorded = recorded_classes(checkpoint)
    for _, dataset in datasets_of(cfg, (split, )):
        classes = known_classes(dataset, cfg)
        if classes is None or recorded is None or cfg.model.get('language_model'):
            return ''
        if sorted(lower(classes)) == sorted(lower(recorded)):
            return '' if lower(classes) == lower(recorded) else 'its classes are in another order'
        return f'it was trained on other classes ({shorten(recorded, 3)})'
    return ''


def differ_by_classes(own: torch.Size, wider: Optional[torch.Size], given: torch.Size) -> bool:
    """Whether a shape depends on the number of classes, and another one differs in nothing else."""
    return wider is not None and own != wider and len(own) == len(wider) == len(given) and all(
        a == c for a, b, c in zip(own, wider, given) if a == b)


def shapes_with_one_more_class(cfg: Config) -> Dict[str, torch.Size]:
    """Shapes of the model's tensors if every number of classes in its config were larger by one."""
    model = deepcopy(cfg.model)
    widen(model)
    try:
        with torch.random.fork_rng(devices=[]):
            return {name: value.shape for name, value in MODELS.build(model).state_dict().items()}
    except Exception as error:
        raise UserError('which tensors depend on the number of classes cannot be found, since the model '
                        f'cannot be built with one more ({reason(error)}): start from a checkpoint of '
                        'the same classes.') from error


def widen(node) -> None:
    """One more wherever ``num_classes`` or the like stands; an RPN has one class whatever is said."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ('num_classes', 'num_things_classes') and isinstance(value, int):
                node[key] = value + 1
            elif key not in ('backbone', 'rpn_head'):
                widen(value)
    elif isinstance(node, (list, tuple)):
        for child in node:
            widen(child)


def check_style(backbone: nn.Module, checkpoint, filename: str) -> None:
    """The hosts' ResNets have the stride of a bottleneck in either of two places, which no shape tells.

    Raises:
        UserError: If the file says that it is the other one.
    """
    theirs, own = (trained_config(checkpoint) or {}).get('style'), getattr(backbone, 'style', None)
    if theirs and own and theirs != own:
        raise UserError(f'checkpoint {filename} was trained with style={theirs!r}, and this backbone '
                        f'has style={own!r}: set style={theirs!r} in the backbone.')


def other_normalisation(cfg: Config, checkpoint) -> str:
    """How the images' normalisation differs from the recorded one; empty where it does not."""
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    try:
        before = literal_config(meta['cfg'], 'model').get('data_preprocessor')
        before = before or literal_config(meta['cfg'], 'data_preprocessor')
    except (KeyError, TypeError, AttributeError, ValueError, SyntaxError, MemoryError, RecursionError):
        return ''
    now = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    changed = [key for key in NORMALISATION if as_list(before.get(key)) != as_list(now.get(key))]
    return '' if not changed else (
        f'{cfg.start_from} was trained with '
        f'{", ".join(f"{key}={before.get(key)}" for key in changed)} in the data_preprocessor, and this '
        f'config has {", ".join(f"{key}={now.get(key)}" for key in changed)}')


def as_list(value):
    return list(value) if isinstance(value, (list, tuple)) else value or None
