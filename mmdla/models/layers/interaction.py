"""Layer interactions: how a stage joins its blocks.

A plain ResNet's is ``x_l = ReLU(branch + shortcut)``. An interaction gets the branch and the
shortcut of block l and returns the input of block l + 1 together with a state that lives
inside one forward call.
"""
from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from mmdla.errors import choose

from .context_unit import NORMALIZERS, build_context_unit
from .mrla import LightLayerAttention, global_average, per_channel

GATES = {name: NORMALIZERS[name] for name in ('sigmoid', 'identity')}


class MRLALight(nn.Module):
    """``x_l <- x_l + DropPath(BN(o_l))`` with ``o_l`` of MRLA, Eq. 3.

    ``o_{l-1}`` is the block's own shortcut, since the block before has already added its o
    to its output.

    Args:
        channels (int): C of the stage.
        num_layers (int): Blocks in the stage.
        norm_cfg (dict): The norm after the attention.
        dim_per_head (int): Channels of one attention head.
        drop_path_rate (float): Stochastic depth of the attention branch.
    """

    def __init__(self,
                 channels: int,
                 num_layers: int,
                 norm_cfg: dict,
                 dim_per_head: int = 32,
                 drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            LightLayerAttention(channels, dim_per_head) for _ in range(num_layers))
        self.norms = nn.ModuleList(
            build_norm_layer(norm_cfg, channels)[1] for _ in range(num_layers))
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, index: int, branch: Tensor, shortcut: Tensor,
                state: None) -> Tuple[Tensor, None]:
        """
        Args:
            index (int): Layer in the stage, from 0.
            branch (Tensor): Residual branch of the block, (B, C, H, W).
            shortcut (Tensor): Its shortcut, (B, C, H, W).
            state: What the call for the layer before returned; None for the first.

        Returns:
            tuple: The next block's input, (B, C, H, W), and the state.
        """
        x = F.relu(branch + shortcut, inplace=True)
        o = self.layers[index](x, global_average(x), shortcut)
        return x + self.drop_path(self.norms[index](o)), state


class DLALight(MRLALight):
    """MRLA-L whose ``o_{l-1}`` is refreshed by a context first (DLA-L).

    Forward path (context of the layers so far): ``c_l = Dyn(GAP(x_l), c_{l-1})``.
    Backward path (each sample's own context refreshes its earlier features, Eq. 6):
    ``o_{l-1} <- o_{l-1} * gate(Dyn(GAP(o_{l-1}), c_l)) + E(o_{l-1})``.

    Args:
        context_unit (dict): Config of Dyn, one for all layers of the stage.
        gate (str): 'sigmoid' (the released code) or 'identity' (Eq. 6 read literally).
        excite (bool): Whether to have E, a depthwise 3x3 convolution shared by the stage's
            layers: in the released code and in most published counts, not in the paper's text.
        initial_context (str): ``c_0``: 'zeros' or 'learned'.
    """

    def __init__(self,
                 channels: int,
                 num_layers: int,
                 norm_cfg: dict,
                 dim_per_head: int = 32,
                 drop_path_rate: float = 0.0,
                 context_unit: Optional[dict] = None,
                 gate: str = 'sigmoid',
                 excite: bool = True,
                 initial_context: str = 'zeros') -> None:
        super().__init__(channels, num_layers, norm_cfg, dim_per_head, drop_path_rate)
        self.context_unit = build_context_unit(channels, **(context_unit or {}))
        self.gate = choose('gate', gate, GATES)
        self.excite = nn.Conv2d(
            channels, channels, 3, padding=1, groups=channels, bias=False) if excite else None
        learned = choose('initial_context', initial_context, dict(zeros=False, learned=True))
        self.initial_context = nn.Parameter(torch.randn(channels)) if learned else None

    def forward(self, index: int, branch: Tensor, shortcut: Tensor,
                context: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        """As in :class:`MRLALight`; the state is the context ``c_{l-1}``, (B, C)."""
        x = F.relu(branch + shortcut, inplace=True)
        y = global_average(x)
        if context is None and self.initial_context is not None:
            context = self.initial_context.to(y.dtype).expand_as(y)
        context = self.context_unit(y, context)
        o = self.refresh(shortcut, context)
        o = self.layers[index](x, y, o)
        return x + self.drop_path(self.norms[index](o)), context

    def refresh(self, o: Tensor, context: Tensor) -> Tensor:
        """Backward path: ``o`` (B, C, H, W) under the context (B, C) of the same sample."""
        d = self.gate(self.context_unit(global_average(o), context))
        refreshed = o * per_channel(d)
        return refreshed if self.excite is None else refreshed + self.excite(o)
