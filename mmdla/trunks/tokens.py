"""Trunks whose blocks work on tokens (B, H * W, C), which layer attention sees as maps."""
from typing import Optional, Sequence, Tuple

from torch import Tensor, nn

from mmdla.attention.interaction import interaction_class

from .arguments import norm_on_maps
from .trunk import Trunk

Size = Tuple[int, int]


def to_map(tokens: Tensor, size: Size) -> Tensor:
    """The last h * w tokens of (B, L, C) as a map (B, C, h, w), without a copy."""
    h, w = size
    return tokens[:, tokens.shape[1] - h * w:].transpose(1, 2).unflatten(2, (h, w))


def to_tokens(x: Tensor) -> Tensor:
    """A map (B, C, H, W) as tokens (B, H * W, C), row by row."""
    return x.flatten(2).transpose(1, 2)


class TokenTrunk(Trunk):
    """A trunk in stages of tokens; its attention has MRLA's form for transformers, with LN.

    For a form that works on the residual branch (LII) the branch is what a whole block adds to its
    input.
    """

    def add_token_attention(self, interaction: Optional[dict], attention_init: str,
                            stages: Sequence[Tuple[int, int]], norm_cfg: dict) -> None:
        """See :meth:`add_attention`; the base forms attend to the whole stage, not to groups of it."""
        for_tokens = interaction_class(interaction).for_tokens
        defaults = {name: value for name, value in for_tokens.items() if name != 'group'}
        self.add_attention(interaction, attention_init, stages, norm_on_maps(norm_cfg), **defaults)

    def scan_tokens(self, stage: int, blocks: Sequence[nn.Module], x: Tensor, state,
                    size: Size) -> Tuple[Tensor, object]:
        """:meth:`scan` from tokens (B, h * w, C) to tokens."""
        x, state = self.scan(stage, blocks, to_map(x, size), state)
        return to_tokens(x), state

    def step(self, attention: nn.Module, index: int, block: nn.Module, x: Tensor,
             state) -> Tuple[Tensor, object]:
        size = x.shape[2:]
        return self.connect(attention, index, to_map(block(to_tokens(x), size), size), x, state)
