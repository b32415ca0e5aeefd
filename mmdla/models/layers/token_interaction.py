"""Layer interactions of vision transformers: the forms of :mod:`.interaction` on tokens.

The patch tokens of a block's output go through layer attention as a map; a class token, or
any other token ahead of the patches, is normalised and added (MRLA, ICLR 2023, section on
vision transformers).
"""
from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from mmdla.ops import gap, weighted_sum

from .interaction import DLALight, MRLABase, MRLALight, light_sum


def patch_map(tokens: Tensor, grid: Tuple[int, int]) -> Tensor:
    """Patch tokens, the last h * w of (B, L, C), as a map (B, C, h, w)."""
    h, w = grid
    return tokens[:, tokens.shape[1] - h * w:].transpose(1, 2).unflatten(2, (h, w))


class Tokens:
    """Token form of an interaction, a mixin ahead of the form for maps.

    With ``z = LN(x)``: ``x_l <- x_l + [z extra tokens, o_l]``, o_l the layer attention of the
    patches of z. There is no DropPath on this branch.
    """

    def forward(self, index: int, x: Tensor, shortcut: Tensor, state,
                grid: Tuple[int, int]) -> Tuple[Tensor, object]:
        """
        Args:
            index (int): Block, from 0.
            x (Tensor): Output of the block with its shortcuts, (B, L, C); the last h * w of
                the L tokens are the patches, row by row.
            shortcut (Tensor): Input of the block, (B, L, C).
            state: What the call for the block before returned; None for the first.
            grid (tuple[int]): h and w.

        Returns:
            tuple: The next block's input, (B, L, C), and the state.
        """
        z, past = self.norms[index](x), self.past(index, shortcut)
        o, state = self.attend(index, patch_map(z, grid), patch_map(past, grid), state)
        patches = o.flatten(2).transpose(1, 2)
        return x + torch.cat([z[:, :z.shape[1] - patches.shape[1]], patches], 1), state

    def past(self, index: int, shortcut: Tensor) -> Tensor:
        """Tokens (B, L, C) whose patches are ``o_{l-1}``, where the form has one."""
        return shortcut

    def attend(self, index: int, x: Tensor, o: Tensor, state) -> Tuple[Tensor, object]:
        """``o_l`` and the new state from maps (B, C, h, w): normalised patches and ``o_{l-1}``."""
        raise NotImplementedError


class LightTokens(Tokens):
    """Of the light forms: ``o_{l-1} = LN'(block input)``, and a GELU on the values.

    Args:
        channels (int): C.
        num_layers (int): Blocks.
        norm_cfg (dict): LN and LN', one of each for every block.
        dim_per_head (int): Channels of one attention head.
        **kwargs: Arguments of the form for maps.
    """

    def __init__(self, channels: int, num_layers: int, norm_cfg: dict, dim_per_head: int = 16,
                 **kwargs) -> None:
        super().__init__(channels, num_layers, norm_cfg, dim_per_head, **kwargs)
        self.shortcut_norms = nn.ModuleList(
            build_norm_layer(norm_cfg, channels)[1] for _ in range(num_layers))

    def past(self, index: int, shortcut: Tensor) -> Tensor:
        return self.shortcut_norms[index](shortcut)

    def attend(self, index: int, x: Tensor, o: Tensor, state) -> Tuple[Tensor, object]:
        z = gap(o) if self.reads_past else None
        factors, state = self.factors(index, gap(x), z, state)
        return light_sum(o, F.gelu(self.layers[index].value(x)), *factors), state


class MRLALightTokens(LightTokens, MRLALight):
    """MRLA-L (Eq. 3) on tokens; see :class:`LightTokens` for its arguments."""


class MRLABaseTokens(Tokens, MRLABase):
    """MRLA-B (Eq. 2) on tokens: a softmax over the layers so far of a group of four blocks."""

    group = 4

    def attend(self, index: int, x: Tensor, o: Tensor,
               state: Optional[tuple]) -> Tuple[Tensor, tuple]:
        tokens, values = state if index % self.group else (None, ())
        weights, tokens = self.weights(index, gap(x), values, tokens)
        values = (*values, self.layers[index].value(x))
        return weighted_sum(weights, values), (tokens, values)


class DLALightTokens(LightTokens, DLALight):
    """DLA-L on tokens. An extension of this package: the DLA paper has no vision transformer.

    One context unit serves all blocks. It reads the means of the normalised patches, and
    ``o_{l-1}``, the patches of LN'(block input), is what it refreshes; see
    :class:`mmdla.models.layers.DLALight` for the equations and the arguments.
    """
