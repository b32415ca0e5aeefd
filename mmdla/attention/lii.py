"""Layer-wise information interaction (LII): DIANet (AAAI 2020) and rows of DLA, Table 6."""
from typing import Optional, Tuple

from torch import Tensor

from mmdla.ops import gap, scale
from mmdla.registry import MODELS

from .context_unit import build_context_unit
from .interaction import Interaction


@MODELS.register_module()
class LII(Interaction):
    """``u_l * h_l`` in place of the residual branch u_l, h_l the unit's output on GAP(u_l).

    Args:
        channels, num_layers, norm_cfg: See :class:`Interaction`.
        context_unit (dict, optional): Config of the unit, one for all layers of the stage, by default
            that of DIANet, ``dict(type='mmdla.DIA')``.
    """

    joins = True
    default_unit = 'DIA'

    def __init__(self, channels: int, num_layers: int, norm_cfg: dict,
                 context_unit: Optional[dict] = None) -> None:
        super().__init__(channels, num_layers, norm_cfg)
        self.context_unit = build_context_unit(context_unit, channels, self.default_unit)

    def join(self, index: int, branch: Tensor, state) -> Tuple[Tensor, object]:
        state = self.context_unit(gap(branch), state)
        return scale(branch, self.context_unit.output(state)), state
