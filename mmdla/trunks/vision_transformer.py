"""mmpretrain's vision transformer with layer attention after its blocks."""
from typing import Dict, Optional, Tuple, Union

import torch
from mmpretrain.models.backbones import vision_transformer as host
from torch import Tensor, nn

from mmdla.attention.interaction import interaction_class
from mmdla.errors import UserError, choose
from mmdla.registry import MODELS

from .arguments import norm_on_maps, without_numpy
from .tokens import to_map, to_tokens
from .trunk import Trunk


@MODELS.register_module()
class VisionTransformer(Trunk, host.VisionTransformer):
    """mmpretrain's VisionTransformer, by itself or with layer attention after its blocks.

    The patch tokens go through the attention as a map. Images of any size: the grid is that of the
    patch embedding, and the position embedding is resized to it. Parameter names of the trunk are
    mmpretrain's; all blocks are one stage, ``attention.0``.

    For a form that works on the residual branch (LII) the branch is what a whole block adds to its
    input. RLA is only available on ResNets, because it widens the blocks' first convolutions.

    Args:
        arch (str | dict): 'deit-tiny', 'deit-small', 'deit-base' or another of the host's
            names, or its dict of ``embed_dims``, ``num_layers``, ``num_heads`` and
            ``feedforward_channels``.
        interaction, with_cp, init_cfg: See :class:`mmdla.trunks.trunk.Trunk`; the interaction's
            ``for_tokens`` replaces its defaults.
        attention_init (str): Start of the gammas of the attention's norms: 'one', as released;
            'scaled', 1 / sqrt(blocks); 'zero': the network starts as the plain vision transformer, so
            that its weights can be the start.
        norm_cfg (dict): All norms, those of the attention too.
        frozen_stages (int): Blocks that are frozen, with their layer attention, from
            construction on; what all blocks share is frozen with the last. Default: -1, none.
        **kwargs: Other arguments of mmpretrain's VisionTransformer.

    Raises:
        UserError: For an argument that is out of its range.
    """

    def __init__(self,
                 arch: Union[str, dict] = 'base',
                 interaction: Optional[dict] = None,
                 attention_init: str = 'one',
                 norm_cfg: dict = dict(type='LN', eps=1e-6),
                 frozen_stages: int = -1,
                 **kwargs) -> None:
        self.arch = arch if isinstance(arch, str) else 'custom'
        if isinstance(arch, str):
            choose('arch', arch.lower(), self.arch_zoo)
        super().__init__(arch, norm_cfg=norm_cfg, **self.host_arguments(kwargs))
        if frozen_stages > self.num_layers:
            raise UserError(f'frozen_stages={frozen_stages} exceeds the {self.num_layers} blocks of '
                            'this arch: choose at most that many.')
        without_numpy(self)
        self.add_attention(
            interaction, attention_init, [(self.embed_dims, self.num_layers)], norm_on_maps(norm_cfg),
            **interaction_class(interaction).for_tokens)
        self.has_attention = interaction is not None
        self.non_shape_arguments.update(
            num_heads=self.arch_settings['num_heads'], norm_cfg=dict(norm_cfg))
        self.frozen_stages = frozen_stages
        self.train()

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """
        Args:
            x (Tensor): Images, (B, 3, H, W).

        Returns:
            tuple[Tensor]: Outputs of the blocks in ``out_indices`` in the form of
            ``out_type``; by default the last block's class token, (B, C).
        """
        x, grid = self.patch_embed(x)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1)
        x = x + self.resize_pos_embed(self.pos_embed, self.patch_resolution, grid,
                                      self.interpolate_mode, self.num_extra_tokens)
        x = self.pre_norm(self.drop_after_pos(x))
        state, outs = self.attention[0].initial_state(to_map(x, grid), None), []
        for index, block in enumerate(self.layers):
            x, state = self.run_layer(0, index, block, x, state, grid)
            if self.final_norm and index == self.num_layers - 1:
                x = self.ln1(x)
            if index in self.out_indices:
                outs.append(self._format_output(x, grid))
        return tuple(outs)

    def step(self, attention: nn.Module, index: int, block: nn.Module, x: Tensor, state,
             grid: Tuple[int, int]) -> Tuple[Tensor, object]:
        """A block and its attention, from tokens (B, L, C) to tokens."""
        before, x = x, block(x)
        if not self.has_attention:
            return x, state
        outside = x[:, :self.num_extra_tokens]
        x, state = self.connect(attention, index, to_map(x, grid), to_map(before, grid), state)
        if self.num_extra_tokens:
            outside = attention.extra_tokens(index, outside.transpose(1, 2)[:, :, None])
            outside = outside[:, :, 0].transpose(1, 2)
        return torch.cat([outside, to_tokens(x)], 1), state

    def _format_output(self, x: Tensor, hw: Tuple[int, int]) -> Tensor:
        """As in mmpretrain; its form of a feature map fails for a batch of 0."""
        return to_map(x, hw) if self.out_type == 'featmap' else super()._format_output(x, hw)

    def resize(self, tensors: Dict[str, Tensor], filename: str) -> None:
        """Resize the position embedding to this backbone's grid.

        Raises:
            UserError: If the checkpoint's grid is not square, so that only its own size fits.
        """
        try:
            self._prepare_pos_embed(tensors, '')
        except AssertionError as error:
            raise UserError(
                f'the position embedding in checkpoint {filename}, {tensors["pos_embed"].shape[1]} '
                'tokens, is not of a square grid and cannot be resized: set img_size to the '
                'checkpoint\'s.') from error

    def train(self, mode: bool = True) -> 'VisionTransformer':
        super().train(mode)
        if self.frozen_stages > 0:
            self._freeze_stages()
        return self

    def is_frozen(self, stage: int, layer: int) -> bool:
        return layer < self.frozen_stages

    @property
    def title(self) -> str:
        return f'{type(self).__name__}-{self.arch}'

    def block_name(self, stage: int, layer: int) -> str:
        return f'layers.{layer}'
