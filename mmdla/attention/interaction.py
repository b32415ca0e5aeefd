"""Base class of the modules that connect the layers of a stage."""
from inspect import signature
from typing import Callable, Optional, Tuple

import torch
from torch import Tensor, nn

from mmdla.errors import UserError
from mmdla.registry import MODELS

# gammas of the norms of layer attention at the start, from the number of layers of a stage
GAMMAS = dict(scaled=lambda n: n**-0.5, one=lambda n: 1.0, zero=lambda n: 0.0)


class Interaction(nn.Module):
    """Connects the layers (blocks) of one stage. This base class leaves the trunk unchanged.

    A form of layer attention is a subclass in :data:`mmdla.registry.MODELS` with a ``forward``. A
    trunk builds one instance for each stage, with the arguments below and those of its config. The
    state belongs to one forward pass.

    The trunk's ``init_cfg`` applies to its parameters, too; override :meth:`init_weights` for another
    start.

    Args:
        channels (int): C of the stage.
        num_layers (int): Layers of the stage.
        norm_cfg (dict): Norm of the trunk, on maps.

    Attributes:
        num_means (int): How many channel means ``forward`` takes: 0, 1 (of x) or 2 (of x and o).
            ResNets, which compute them along with the block's sum, pass them; other trunks do not.
        joins (bool): Whether ``join`` is to be called.
        extra_channels (int): Channels that ``block_input`` adds to those of x, on ResNets only.
        extra_outputs (int): Channels that ``finish`` adds to those of x, on ResNets only.
        per_layer (tuple[str]): Names of lists of modules or parameters with one entry for each layer:
            they are frozen, and get learning rates, with their layers, all others with the stage.
        min_layers (int): Layers that a stage needs; shorter ones stay without attention.
        zero_start (bool): Whether ``attention_init='zero'`` starts as the plain trunk and trains.
        ignored_keys (tuple[str]): Prefixes of tensors that a checkpoint may have beyond these.
        default_unit (str): Type of a context unit whose config has none.
        for_tokens (dict): Arguments that replace defaults on a vision transformer.
        not_compared (tuple[str]): Arguments in which a network may differ from the one that its
            checkpoint was trained in.
        records (bool): Whether :meth:`record` is called, so that the attention can be drawn.
        softmax (bool): Whether the recorded weights are softmax scores.
        recorder (callable, optional): Called with the attention weights of each layer, see
            :meth:`record`.
    """

    num_means = 0
    joins = False
    extra_channels = 0
    extra_outputs = 0
    min_layers = 1
    zero_start = False
    ignored_keys: Tuple[str, ...] = ()
    default_unit = 'DSU'
    for_tokens: dict = {}
    per_layer: Tuple[str, ...] = ('layers', 'norms', 'shortcut_norms', 'scales')
    not_compared: Tuple[str, ...] = ('drop_path_rate', )
    records = False
    softmax = False
    recorder: Optional[Callable] = None

    def __init__(self, channels: int, num_layers: int, norm_cfg: dict) -> None:
        super().__init__()
        self.channels = channels
        self.num_layers = num_layers
        self.norm_cfg = norm_cfg
        self.dim_per_head = channels

    def initial_state(self, x: Tensor, state):
        """State ahead of the stage's first layer.

        Args:
            x (Tensor): Input of the stage, (B, C', H', W').
            state: That of the stage before; None ahead of the first stage.
        """
        return None

    def block_input(self, x: Tensor, state) -> Tensor:
        """What the first convolution of the next block reads: (B, C + extra_channels, H, W)."""
        return x

    def join(self, index: int, branch: Tensor, state) -> Tuple[Tensor, object]:
        """What is added to the shortcut, (B, C, H, W), in place of the residual branch; new state."""
        return branch, state

    def forward(self, index: int, x: Tensor, o: Tensor, state, *means: Tensor) -> Tuple[Tensor, object]:
        """
        Args:
            index (int): Layer in the stage, from 0.
            x (Tensor): x_l, the output of the block, (B, C, H, W).
            o (Tensor): The block's shortcut, (B, C, H, W).
            state: What the call for the layer before, or ``initial_state``, returned.
            *means (Tensor): Channel means of x and o, (B, C) each; see ``num_means``.

        Returns:
            tuple: The next block's input, (B, C, H, W), and the state.
        """
        return x, state

    def extra_tokens(self, index: int, x: Tensor) -> Tensor:
        """Update tokens outside the map, such as a class token: (B, C, 1, L) to (B, C, 1, L)."""
        return x

    def finish(self, x: Tensor, state) -> Tensor:
        """The trunk's last output from x (B, C, H, W) and the last state."""
        return x

    def last_stage(self) -> None:
        """Called at construction for the last stage of a trunk."""

    def init_weights(self, attention_init: str) -> None:
        """Called after the trunk's initialisation; a key of ``GAMMAS`` says how much to add at first."""

    def fuse(self) -> None:
        """Fold norms for inference, in place."""

    def record(self, index: int, newest: Tensor, carried: Optional[Tensor] = None) -> None:
        """Hand the weights of v_1 ... v_l in o_l to the recorder; call it where there is one.

        Args:
            index (int): Layer l - 1.
            newest (Tensor): Weights of the newest n values, (B, n, C).
            carried (Tensor, optional): What multiplies the weights of all others, those of the
                layer before, (B, C) or (C, ); None where there are no others.
        """
        self.recorder(self, index, newest.detach(), carried if carried is None else carried.detach())

    def norm_scale(self, index: int) -> Tensor:
        """What o_l is multiplied by on its way into the next layer's shortcut, (C, ) or (1, )."""
        return torch.ones(1)

    def layer_of(self, name: str) -> Optional[int]:
        """Layer that owns the parameter with this name, or None for one of the whole stage."""
        part, _, rest = name.partition('.')
        return int(rest.partition('.')[0]) if part in self.per_layer else None


def registered(kind: str, base: type, type_) -> type:
    """The class of a config's ``type``, a name in MODELS or a class.

    Args:
        kind (str): What it is, in words.
        base (type): What it must be a subclass of.
        type_ (str | type): With or without the scope ``mmdla.``.

    Raises:
        UserError: If there is none.
    """
    found = MODELS.get(type_) if isinstance(type_, str) else type_
    if not (isinstance(found, type) and issubclass(found, base)):
        names = [f'mmdla.{name}' for name, cls in MODELS.module_dict.items()
                 if isinstance(cls, type) and issubclass(cls, base)]
        raise UserError(f'{kind} must be one of {", ".join(map(repr, names))}, or a subclass of '
                        f'{base.__name__} in mmdla.registry.MODELS whose file custom_imports names; '
                        f'got {type_!r}.')
    return found


def construct(kind: str, cls: type, *args, **kwargs) -> nn.Module:
    """``cls(...)``; a UserError for arguments that it does not take."""
    try:
        signature(cls).bind(*args, **kwargs)
    except TypeError as error:
        raise UserError(f'{kind} {cls.__name__} does not take these arguments ({error}): see its '
                        'documentation, and write _delete_=True where a config replaces the type of '
                        'another.') from error
    return cls(*args, **kwargs)


def check_config(kind: str, config: Optional[dict], example: str) -> None:
    """A UserError for what is neither a dict nor None."""
    if not (config is None or isinstance(config, dict)):
        raise UserError(f'{kind} is a dict with type, such as {example}; got {config!r}.')


def interaction_class(config: Optional[dict]) -> type:
    """Class of the interaction of a config ``dict(type=..., ...)``; None is the plain trunk."""
    if config is None:
        return Interaction
    check_config('interaction', config, 'dict(type=\'mmdla.DLALight\')')
    return registered('the type of interaction', Interaction, config.get('type'))


def build_interaction(config: Optional[dict], channels: int, num_layers: int, norm_cfg: dict,
                      **defaults) -> Interaction:
    """Build the interaction of one stage.

    Args:
        config (dict, optional): ``dict(type='mmdla.DLALight', ...)``; None for the plain trunk.
        channels, num_layers, norm_cfg: See :class:`Interaction`.
        **defaults: Arguments unless the config has them.

    Raises:
        UserError: For an unknown type or wrong arguments.
    """
    cls = interaction_class(config)
    given = {name: value for name, value in (config or {}).items() if name != 'type'}
    return construct('interaction', cls, channels, num_layers, norm_cfg, **{**defaults, **given})
