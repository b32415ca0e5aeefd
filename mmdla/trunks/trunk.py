"""Mixin that all backbones of this package share."""
from copy import deepcopy
from inspect import Parameter, signature
from typing import Dict, List, Optional, Sequence, Tuple

from torch import Tensor, nn

from mmdla.attention.interaction import GAMMAS, build_interaction
from mmdla.errors import UserError, choose
from mmdla.pretrained import load_backbone, under_present_names

from .arguments import interaction_arguments

IN_INTERACTION = ': it is one of the interaction, interaction=dict(type=..., ...)'
ADVICE = {
    'gate': ': it is now refresh_by=\'output\' or \'context\'',
    **dict.fromkeys(('context_unit', 'dim_per_head', 'refresh_by', 'excite', 'refresh'), IN_INTERACTION),
}


def rename_before_loading(state_dict: dict, prefix: str, *args) -> None:
    """Give tensors with the names of earlier versions their present ones, in place."""
    own = {name: state_dict.pop(name) for name in list(state_dict) if name.startswith(prefix)}
    own = under_present_names({name.removeprefix(prefix): value for name, value in own.items()})
    state_dict.update({prefix + name: value for name, value in own.items()})


class Trunk:
    """A mixin ahead of a host's backbone.

    Its constructor calls ``super().__init__(**self.host_arguments(...))`` and then ``add_attention``;
    its ``forward`` calls ``connect`` after each block.

    Parameter names of the trunk are the host's; those of the interaction of stage i, from 0, begin
    with ``attention.i.``.

    Attributes:
        attention (nn.ModuleList): One :class:`mmdla.attention.Interaction` for each stage.
        attention_init (str): A key of ``mmdla.attention.interaction.GAMMAS``.
        pretrained (list[dict]): Parts of init_cfg that name a checkpoint; see
            :func:`mmdla.pretrained.load_backbone`.
        non_shape_arguments (dict): Arguments, with their defaults, that do not affect the tensors'
            shapes, so that a state_dict cannot tell them.
        widens (bool): Whether blocks can read, and the last stage return, more channels than the
            host's.
    """

    widens = False
    pretrained: Sequence[dict] = ()

    def host_arguments(self, arguments: dict) -> dict:
        """Arguments for the host's constructor; the checkpoints in init_cfg become ``pretrained``.

        Raises:
            UserError: For one that the host does not have.
        """
        known = signature(super().__init__).parameters
        anything = any(known[name].kind is Parameter.VAR_KEYWORD for name in known)
        for name in () if anything else arguments:
            if name not in known:
                raise UserError(f'{type(self).__name__} has no argument {name}{ADVICE.get(name, "")}.')
        given = arguments.get('init_cfg')
        cfgs = [given] if isinstance(given, dict) else list(given or [])
        self.pretrained = [cfg for cfg in cfgs if 'checkpoint' in cfg]
        others = [cfg for cfg in cfgs if 'checkpoint' not in cfg]
        kept = {name: value for name, value in arguments.items() if name != 'init_cfg'}
        return {**kept, **(dict(init_cfg=others) if others else {})}

    def add_attention(self, interaction: Optional[dict], attention_init: str,
                      stages: Sequence[Tuple[int, int]], norm_cfg: dict, **defaults) -> None:
        """Build the interactions.

        Args:
            interaction (dict, optional): Config of the interaction of every stage; None for none.
            attention_init (str): A key of ``mmdla.attention.interaction.GAMMAS``.
            stages (sequence of tuple): Channels and layers of each stage.
            norm_cfg (dict): Norm on maps.
            **defaults: Arguments of the interaction unless its config has them.
        """
        self.attention = nn.ModuleList(
            build_interaction(interaction, channels, layers, norm_cfg, **defaults)
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
                            'DLA-L (the base forms of a ResNet end in a ReLU, through which a zero '
                            'passes no gradient; others would set zero_start): choose \'scaled\' '
                            'or \'one\'.')
        self._register_load_state_dict_pre_hook(rename_before_loading)

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

    def freeze_attention(self, num_stages: int) -> None:
        """Freeze that of the first stages; call it where the host freezes their blocks."""
        for attention in self.attention[:max(num_stages, 0)]:
            attention.eval().requires_grad_(False)

    @property
    def title(self) -> str:
        """Name for messages."""
        return type(self).__name__

    @property
    def can_start_plain(self) -> bool:
        """Whether ``attention_init='zero'`` computes what the plain trunk computes, and trains."""
        return all(attention.zero_start for attention in self.attention)

    @property
    def starts_plain(self) -> bool:
        return self.attention_init == 'zero'

    @property
    def ignored_prefixes(self) -> Tuple[str, ...]:
        """Prefixes of a checkpoint's tensors that are left out: stages or parts not built here."""
        return tuple(f'attention.{index}.{prefix}' for index, attention in enumerate(self.attention)
                     for prefix in attention.ignored_keys)

    def plugin_layers(self, *positions: str) -> Dict[str, nn.Module]:
        """Plugins at these positions, by default all, by the names of their modules."""
        return {}

    def identity_plugins(self) -> List[str]:
        """Names of the plugins that leave their input as it is, as GC, NL and A2 do at the start."""
        return []

    def fit(self, tensors: Dict[str, Tensor], filename: str) -> None:
        """Resize, in place, what depends on the size of the images."""

    def init_weights(self) -> None:
        if self.is_init:
            return
        built = [(layer, deepcopy(layer.state_dict())) for layer in self.plugin_layers().values()]
        super().init_weights()
        for layer, tensors in built:  # plugins keep their own initialisation
            layer.load_state_dict(tensors)
        for attention in self.attention:
            attention.init_weights(self.attention_init)
        for cfg in self.pretrained:
            load_backbone(self, cfg['checkpoint'], cfg.get('prefix'))

    def get_layer_depth(self, param_name: str, prefix: str = '') -> Tuple[int, int]:
        """As in mmpretrain; attention counts as its block, what a stage shares as the first block."""
        mark = f'{prefix}attention.'
        if param_name.startswith(mark):
            stage, _, name = param_name.removeprefix(mark).partition('.')
            layer = self.attention[int(stage)].layer_of(name) or 0
            param_name = f'{prefix}{self.block_name(int(stage), layer)}.'
        return super().get_layer_depth(param_name, prefix)

    def block_name(self, stage: int, layer: int) -> str:
        """Name of the module of a block."""
        raise NotImplementedError
