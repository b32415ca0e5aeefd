"""Mixin that all backbones of this package share."""
from copy import deepcopy
from typing import Dict, List, Optional, Sequence, Tuple

from torch import Tensor, nn

from mmdla.attention.interaction import GAMMAS, build_interaction
from mmdla.errors import UserError, choose
from mmdla.pretrained import load_backbone, under_present_names

from .arguments import interaction_arguments


class Trunk:
    """A mixin ahead of a host's backbone.

    Parameter names of the trunk are the host's; those of the interaction of stage i, from 0, begin
    with ``attention.i.``.

    Attributes:
        attention_init (str): A key of ``mmdla.attention.interaction.GAMMAS``.
        attention (nn.ModuleList): One :class:`mmdla.attention.Interaction` for each stage.
        pretrained (list[dict]): Parts of init_cfg that name a checkpoint; see
            :func:`mmdla.pretrained.load_backbone`.
        non_shape_arguments (dict): Arguments, with their defaults, that do not affect the tensors'
            shapes, so that a state_dict cannot tell them.
        size (str): Depth or arch.
        widens (bool): Whether the blocks' convolutions can read more channels than their input has.
    """

    widens = False

    def split_init_cfg(self, arguments: dict) -> dict:
        """Arguments for the host's constructor; the checkpoints in init_cfg become ``pretrained``."""
        given = arguments.get('init_cfg')
        cfgs = [given] if isinstance(given, dict) else list(given or [])
        self.pretrained = [cfg for cfg in cfgs if 'checkpoint' in cfg]
        others = [cfg for cfg in cfgs if 'checkpoint' not in cfg]
        kept = {name: value for name, value in arguments.items() if name != 'init_cfg'}
        return {**kept, **(dict(init_cfg=others) if others else {})}

    def add_attention(self, interaction: Optional[dict], stages: Sequence[Tuple[int, int]],
                      norm_cfg: dict, **defaults) -> None:
        """Build the interactions.

        Args:
            interaction (dict, optional): Config of the interaction of every stage; None for none.
            stages (sequence of tuple): Channels and layers of each stage.
            norm_cfg (dict): Norm on maps.
            **defaults: Arguments of the interaction unless its config has them.
        """
        self.attention = nn.ModuleList(
            build_interaction(interaction, channels, layers, norm_cfg, **defaults)
            for channels, layers in stages)
        if not self.widens and any(attention.extra_channels for attention in self.attention):
            raise UserError(f'{interaction["type"]} widens the first convolution of a ResNet\'s blocks, '
                            f'and {type(self).__name__} has none: choose another interaction.')
        self.attention[-1].last_stage()
        self.non_shape_arguments = interaction_arguments(interaction, defaults)
        choose('attention_init', self.attention_init, GAMMAS)
        if interaction and self.attention_init == 'zero' and not self.can_start_plain:
            raise UserError('attention_init=\'zero\' is only supported with the light forms, MRLA-L and '
                            'DLA-L (the base forms of a ResNet end in a ReLU, through which a zero '
                            'passes no gradient, and others have no gammas): choose \'scaled\' or '
                            '\'one\'.')
        self._register_load_state_dict_pre_hook(self.rename_before_loading)

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
            attention.init_gammas(self.attention_init)
        for cfg in self.pretrained:
            load_backbone(self, cfg['checkpoint'], cfg.get('prefix'))

    def rename_before_loading(self, state_dict: dict, prefix: str, *args) -> None:
        own = {name: state_dict.pop(name) for name in list(state_dict) if name.startswith(prefix)}
        own = under_present_names({name.removeprefix(prefix): value for name, value in own.items()})
        state_dict.update({prefix + name: value for name, value in own.items()})

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
