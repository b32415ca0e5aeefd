"""Mixin that all backbones of this package share."""
import os
from copy import deepcopy
from inspect import Parameter, signature
from itertools import dropwhile
from typing import Callable, Dict, Iterable, List, Optional, Sequence, Set, Tuple

import torch.utils.checkpoint as cp
from torch import Tensor, nn

from mmdla.attention.interaction import (
    GAMMAS,
    Interaction,
    build_interaction,
    interaction_class,
)
from mmdla.errors import UserError, choose
from mmdla.pretrained import load_backbone, under_present_names

from .arguments import dim_per_head, interaction_arguments
from .initialization import (
    InitializesAtTheEnd,
    forget_start,
    needs_start,
    without_false_warning,
)

IN_INTERACTION = ': it is one of the interaction, interaction=dict(type=..., ...)'
ADVICE = {
    'gate': ': it is now refresh_by=\'output\' or \'context\'',
    **dict.fromkeys(('dcn', 'stage_with_dcn'), ': deformable convolutions are not supported'),
    'pretrained': ': it is init_cfg=dict(type=\'Pretrained\', checkpoint=...)',
    **dict.fromkeys(('context_unit', 'dim_per_head', 'refresh_by', 'excite', 'refresh'), IN_INTERACTION),
}


def rename_before_loading(state_dict: dict, prefix: str, *args) -> None:
    """Give tensors with the names of earlier versions their present ones, in place."""
    own = {name: state_dict.pop(name) for name in list(state_dict) if name.startswith(prefix)}
    own = under_present_names({name.removeprefix(prefix): value for name, value in own.items()})
    state_dict.update({prefix + name: value for name, value in own.items()})


def parameters_of(cls: type) -> Set[str]:
    """Names of the arguments of a class's constructor, through ``**kwargs`` those of its bases."""
    names: Set[str] = set()
    for base in cls.__mro__:
        if '__init__' in vars(base):
            parameters = signature(base.__init__).parameters.values()
            names.update(p.name for p in parameters if p.kind is not Parameter.VAR_KEYWORD)
            if not any(p.kind is Parameter.VAR_KEYWORD for p in parameters):
                break
    return names


class Trunk(metaclass=InitializesAtTheEnd):
    """A mixin ahead of a host's backbone: layer attention after its blocks.

    Its constructor calls ``super().__init__(**self.host_arguments(...))`` and then ``add_attention``;
    its ``forward`` calls ``scan`` for the blocks of a stage.

    Parameter names of the trunk are the host's; those of the interaction of stage i, from 0, begin
    with ``attention.i.``. A stage is a run of blocks with outputs of one shape.

    Args of every trunk, beside its host's:
        interaction (dict, optional): Layer attention of every stage, such as
            ``dict(type='mmdla.DLALight')``; see :mod:`mmdla.attention`. None for the plain trunk. Where
            it has no ``dim_per_head`` and the form's own does not divide the channels of every stage,
            the greatest common divisor with them is taken.
        attention_init (str): Start of the gammas of the attention's norms: 'scaled', 1 / sqrt(layers of
            the stage); 'one'; 'zero': the network starts as the plain trunk.
        with_cp (bool): Whether to recompute each block, with its attention, in the backward pass.
        init_cfg (dict | list[dict], optional): As in the host, but
            ``dict(type='Pretrained', checkpoint=...)`` is strict, see
            :func:`mmdla.pretrained.load_backbone`. The constructor loads it if it is a file that exists.
            Another, which must be downloaded or does not exist, waits for :meth:`init_weights`, which
            the Runner calls before training and not before testing: the first forward pass without it
            is an error in training and a warning otherwise.

    Attributes:
        attention (nn.ModuleList): One :class:`mmdla.attention.Interaction` for each stage.
        attention_init (str): A key of ``mmdla.attention.interaction.GAMMAS``.
        pretrained_cfgs (list[dict]): Parts of init_cfg that name a checkpoint.
        not_loaded (list[dict]): Those that wait for :meth:`init_weights`.
        non_shape_arguments (dict): Arguments, with their defaults, that do not affect the tensors'
            shapes, so that a state_dict cannot tell them.
        norms_outputs (bool): Whether a norm ``norm0``, ``norm1``, ... makes each output.
        takes_anything (bool): Whether the host hands arguments of any name on.
        advice (dict): What to do in place of arguments that it does not have.
        widens (bool): Whether blocks can read, and the last stage return, more channels than the
            host's.
    """

    widens = False
    norms_outputs = False
    takes_anything = False
    advice: Dict[str, str] = {}
    recomputes = False
    pretrained_cfgs: Sequence[dict] = ()
    not_loaded: Sequence[dict] = ()

    def host_arguments(self, arguments: dict) -> dict:
        """Arguments for the host's constructor; the checkpoints in init_cfg become ``pretrained_cfgs``.

        Raises:
            UserError: For one that the host does not have.
        """
        ancestors = type(self).__mro__
        known = parameters_of(ancestors[ancestors.index(Trunk) + 1])
        known = (known | {'with_cp'}) - ({'pretrained'} if not self.takes_anything else set())
        for name in arguments:
            unset = name == 'pretrained' and arguments[name] is None  # as in old configs of the hosts
            if name not in known and not (unset or self.takes_anything):
                raise UserError(f'{type(self).__name__} has no argument {name}'
                                f'{ {**ADVICE, **self.advice}.get(name, "")}.')
        given = arguments.get('init_cfg')
        if not (given is None or isinstance(given, (dict, list, tuple))):
            raise UserError('init_cfg is a dict with type, such as dict(type=\'Pretrained\', '
                            f'checkpoint=FILE), or a list of them; got {given!r}.')
        cfgs = [given] if isinstance(given, dict) else list(given or [])
        self.pretrained_cfgs = [cfg for cfg in cfgs if 'checkpoint' in cfg]
        others = [cfg for cfg in cfgs if 'checkpoint' not in cfg]
        self.recomputes = arguments.get('with_cp', False)
        left_out = ('init_cfg', 'with_cp') + (() if self.takes_anything else ('pretrained', ))
        kept = {name: value for name, value in arguments.items() if name not in left_out}
        return {**kept, **(dict(init_cfg=others) if others else {})}

    def add_attention(self, interaction: Optional[dict], attention_init: str,
                      stages: Sequence[Tuple[int, int]], norm_cfg: dict, **defaults) -> None:
        """Build the interactions; all parts that the host freezes are frozen afterwards.

        Args:
            interaction (dict, optional): Config of the interaction of every stage; None for none.
            attention_init (str): A key of ``mmdla.attention.interaction.GAMMAS``.
            stages (sequence of tuple): Channels and layers of each stage.
            norm_cfg (dict): Norm on maps; the attention's are trained where those of a trunk with
                ``requires_grad=False`` are not.
            **defaults: Arguments of the interaction unless its config has them.
        """
        norm_cfg = {name: value for name, value in norm_cfg.items() if name != 'requires_grad'}
        fewest = interaction_class(interaction).min_layers
        if all(layers < fewest for _, layers in stages):
            raise UserError(f'{interaction["type"]} needs {fewest} blocks or more in a stage, and no '
                            f'stage of this {type(self).__name__} has them: choose a deeper one.')
        defaults = dim_per_head(interaction, defaults, [channels for channels, _ in stages])
        self.attention = nn.ModuleList(
            build_interaction(interaction, channels, layers, norm_cfg, **defaults)
            if layers >= fewest else Interaction(channels, layers, norm_cfg)
            for channels, layers in stages)
        self.attention[-1].last_stage()
        if not self.widens and any(attention.extra_channels or attention.extra_outputs
                                   for attention in self.attention):
            raise UserError(f'{interaction["type"]} widens the blocks of a ResNet, which '
                            f'{type(self).__name__} cannot: choose another interaction.')
        self.non_shape_arguments = interaction_arguments(interaction, defaults)
        choose('attention_init', attention_init, GAMMAS)
        self.attention_init = attention_init
        if interaction and self.attention_init == 'zero' and not self.can_start_plain:
            raise UserError('attention_init=\'zero\' is only supported with the light forms, MRLA-L and '
                            'DLA-L, with base forms with layer_scale=True (without, they end in a ReLU, '
                            'through which a zero passes no gradient), and with all of them on '
                            'transformers (others would set zero_start): choose one of these, or '
                            '\'scaled\' or \'one\'.')
        self._register_load_state_dict_pre_hook(rename_before_loading)
        self._register_load_state_dict_pre_hook(forget_start, with_module=True)
        self.train()

    def scan(self, stage: int, blocks: Iterable[Callable], x: Tensor, state,
             *args) -> Tuple[Tensor, object]:
        """The blocks of a stage with its attention.

        Args:
            stage (int): Its index in ``attention``.
            blocks (iterable): Modules of one layer each.
            x (Tensor): Input of the first, (B, C, H, W).
            state: That of the stage before; None ahead of the first stage.
            *args: What the blocks take besides.

        Returns:
            tuple: Output of the last, (B, C, H, W), and the state.
        """
        state = self.attention[stage].initial_state(x, state)
        for index, block in enumerate(blocks):
            x, state = self.run_layer(stage, index, block, x, state, *args)
        return x, state

    def run_layer(self, stage: int, index: int, block: Callable, x: Tensor, state,
              *args) -> Tuple[Tensor, object]:
        """A block and its attention, see :meth:`step`; recomputed in the backward pass if asked."""
        inputs = (self.attention[stage], index, block, x, state, *args)
        if self.recomputes and x.requires_grad:
            return cp.checkpoint(self.step, *inputs, use_reentrant=False)
        return self.step(*inputs)

    def step(self, attention: nn.Module, index: int, block: Callable, x: Tensor,
             state) -> Tuple[Tensor, object]:
        """Output of a block and its attention, and the state, from a map (B, C, H, W)."""
        return self.connect(attention, index, block(x), x, state)

    @staticmethod
    def connect(attention: nn.Module, index: int, x: Tensor, o: Tensor,
                state) -> Tuple[Tensor, object]:
        """What follows a block with output x and shortcut o, (B, C, H, W) each: its attention.

        Returns:
            tuple: The next block's input, (B, C, H, W), and the state.
        """
        if attention.joins:
            branch, state = attention.join(index, x - o, state)
            x = o + branch
        return attention(index, x, o, state)

    def is_frozen(self, stage: int, layer: int) -> bool:
        """Whether the host has frozen a block of a stage of ``attention``."""
        return False

    def freeze_attention(self) -> None:
        """Freeze the attention of frozen blocks; what all share with the last of them."""
        for stage, attention in enumerate(self.attention):
            frozen = [self.is_frozen(stage, layer) for layer in range(attention.num_layers)]
            if all(frozen):
                attention.eval().requires_grad_(False)
                continue
            for layers in (getattr(attention, name, None) or () for name in attention.per_layer):
                for layer, stops in zip(layers, frozen):
                    if stops:
                        layer.requires_grad_(False)
                        if isinstance(layer, nn.Module):
                            layer.eval()

    def train(self, mode: bool = True) -> 'Trunk':
        super().train(mode)
        if 'attention' in self._modules:
            self.freeze_attention()
        return self

    @property
    def title(self) -> str:
        """Name for messages."""
        return type(self).__name__

    @property
    def can_start_plain(self) -> bool:
        """Whether ``attention_init='zero'`` computes what the plain trunk computes, and trains."""
        forms = [attention for attention in self.attention if type(attention) is not Interaction]
        return bool(forms) and all(form.zero_start for form in forms)

    @property
    def starts_plain(self) -> bool:
        return self.attention_init == 'zero'

    @property
    def ignored_prefixes(self) -> Tuple[str, ...]:
        """Prefixes of a checkpoint's tensors that are left out: stages or parts not built here."""
        unread = range(len(self.attention)) if self.norms_outputs else ()
        return (*(f'attention.{index}.{prefix}' for index, attention in enumerate(self.attention)
                  for prefix in attention.ignored_keys),
                *(f'norm{index}.' for index in unread if index not in self.out_indices))

    @property
    def output_norms(self) -> Tuple[str, ...]:
        """Prefixes of norms that a classifier, which reads the last output only, does not have."""
        read = self.out_indices if self.norms_outputs else ()
        return tuple(f'norm{index}.' for index in read if index < len(self.attention) - 1)

    def plugin_layers(self, *positions: str) -> Dict[str, nn.Module]:
        """Plugins at these positions, by default all, by the names of their modules."""
        return {}

    def identity_plugins(self) -> List[str]:
        """Names of the plugins that leave their input as it is, as GC, NL and A2 do at the start."""
        return []

    def check_naming(self, naming: Optional[str], filename: str) -> None:
        """Refuse a checkpoint whose names tell that it is of another network; None for own names."""

    def fit(self, tensors: Dict[str, Tensor], filename: str) -> List[str]:
        """Resize, in place, what depends on the size of images or windows; the names of these."""
        before = {name: tensor.shape for name, tensor in tensors.items()}
        self.resize(tensors, filename)
        return [name for name, tensor in tensors.items() if tensor.shape != before.get(name)]

    def resize(self, tensors: Dict[str, Tensor], filename: str) -> None:
        """What :meth:`fit` does."""

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
        self.not_loaded = tuple(dropwhile(self.load_file, self.pretrained_cfgs))
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
        self.not_loaded = ()
        self.is_init = True
        forget_start(self)

    def _dump_init_info(self) -> None:
        """No report of mmengine's, a line for each parameter."""

    def get_layer_depth(self, param_name: str, prefix: str = '') -> Tuple[int, int]:
        """As in mmpretrain; attention counts as its block, what a stage shares as the first block."""
        mark = f'{prefix}attention.'
        if param_name.startswith(mark):
            stage, _, name = param_name.removeprefix(mark).partition('.')
            layer = self.attention[int(stage)].layer_of(name) or 0
            param_name = f'{prefix}{self.block_name(int(stage), layer)}.'
        if not hasattr(super(), 'get_layer_depth'):
            raise UserError(f'{type(self).__name__} has no layer-wise learning rates, since its host '
                            'has none: choose another constructor of optim_wrapper.')
        return super().get_layer_depth(param_name, prefix)

    def block_name(self, stage: int, layer: int) -> str:
        """Name of the module of a block."""
        raise NotImplementedError
