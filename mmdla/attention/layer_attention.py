"""What the four forms of layer attention share."""
from typing import Iterable, Tuple

import torch
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks import DropPath
from mmengine.model import constant_init
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdla.errors import UserError
from mmdla.ops import FoldedNorm

from .interaction import GAMMAS, Interaction
from .qkv import LayerQKV, LightLayerQKV


class LayerAttention(Interaction):
    """``x_l <- x_l + DropPath(norm(o_l))`` with query, key, value and norm for each layer.

    On a vision transformer (MRLA, section on vision transformers) the norms come first:
    ``x_l <- x_l + o_l``, with o_l of LN(x_l) and LN'(o_{l-1}), a GELU on the values of the light
    forms, and no DropPath. For a class token ``x <- x + LN(x)``.

    The forms compute o_l in plain PyTorch, unless a fused operation takes the maps: that replaces the
    rest of ``forward``. With ``mmdla.ops.use('reference')`` the plain lines always run.

    Args:
        channels, num_layers, norm_cfg: See :class:`Interaction`.
        dim_per_head (int): D, channels of one attention head.
        drop_path_rate (float): Stochastic depth of the attention branch.
        pre_norm (bool): Whether the norms come first.

    Raises:
        UserError: For a ``drop_path_rate`` with ``pre_norm``.
    """

    num_means = 1
    records = True

    def __init__(self, channels: int, num_layers: int, norm_cfg: dict, dim_per_head: int,
                 drop_path_rate: float, pre_norm: bool) -> None:
        super().__init__(channels, num_layers, norm_cfg)
        if pre_norm and drop_path_rate:
            raise UserError('drop_path_rate is not supported with pre_norm=True, the form of vision '
                            'transformers, which has no DropPath on this branch: leave it out.')
        self.dim_per_head = dim_per_head
        self.pre_norm = pre_norm
        if pre_norm:  # queries and keys are of the norms' means, which no trunk has
            self.num_means = 0
        self.layers = nn.ModuleList(self.make_qkv() for _ in range(num_layers))
        self.norms = nn.ModuleList(
            build_norm_layer(norm_cfg, channels)[1] for _ in range(num_layers))
        self.drop_path = DropPath(drop_path_rate)

    def make_qkv(self) -> LayerQKV:
        return LayerQKV(self.channels, self.dim_per_head)

    def attention_branch(self, index: int, o: Tensor) -> Tensor:
        """What is added to x_l, from o_l (B, C, H, W): DropPath(norm(o_l)), or with ``pre_norm`` o_l."""
        return o if self.pre_norm else self.drop_path(self.norms[index](o))

    def extra_tokens(self, index: int, x: Tensor) -> Tensor:
        return x + self.norms[index](x) if self.pre_norm else x

    def init_weights(self, attention_init: str) -> None:
        for norm in self.gammas():
            constant_init(norm, GAMMAS[attention_init](self.num_layers))

    def gammas(self) -> Iterable[nn.Module]:
        """Norms whose gammas decide how much the attention adds."""
        return self.norms

    def fuse(self) -> None:
        for index, norm in enumerate(self.norms):
            if isinstance(norm, _BatchNorm) and norm.running_mean is not None:
                self.norms[index] = FoldedNorm(norm).eval()

    def norm_scale(self, index: int) -> Tensor:
        """What the norm of a layer multiplies each channel of o_l by in eval mode."""
        norm = self.norms[index]
        if not isinstance(norm, _BatchNorm):
            return torch.ones(1)
        scale = (norm.running_var + norm.eps).rsqrt()
        return (scale if norm.weight is None else norm.weight * scale).detach()


class LightLayerAttention(LayerAttention):
    """The light forms. Their o_{l-1} is the block's own shortcut.

    The block before has already added its o to its output, which is this block's input.
    """

    zero_start = True
    for_tokens = dict(pre_norm=True, dim_per_head=16)

    def __init__(self, channels: int, num_layers: int, norm_cfg: dict, dim_per_head: int,
                 drop_path_rate: float, pre_norm: bool) -> None:
        super().__init__(channels, num_layers, norm_cfg, dim_per_head, drop_path_rate, pre_norm)
        self.value_act = nn.GELU() if pre_norm else nn.Identity()
        if pre_norm:
            self.shortcut_norms = nn.ModuleList(
                build_norm_layer(norm_cfg, channels)[1] for _ in range(num_layers))

    def make_qkv(self) -> LightLayerQKV:
        return LightLayerQKV(self.channels, self.dim_per_head)

    def norm_inputs(self, index: int, x: Tensor, o: Tensor) -> Tuple[Tensor, Tensor]:
        """With ``pre_norm``: LN(x_l) and LN'(o_{l-1}), from which o_l is computed."""
        return self.norms[index](x), self.shortcut_norms[index](o)

    def gammas(self) -> Iterable[nn.Module]:
        return (*self.norms, *self.shortcut_norms) if self.pre_norm else self.norms
