"""The attention of each layer over the layers of its stage (DLA, Figure 2)."""
from typing import Dict, List, Optional

import torch
from torch import Tensor, nn

from mmdla.attention import Interaction
from mmdla.errors import UserError


class AttentionRecorder:
    """Writes down the attention of every forward pass of a model from now on.

    Base forms: the softmax scores a_lt of MRLA, Eq. 2, after the refresh of the keys. Light forms: the
    weight that v_t has in o_l when MRLA, Eq. 3 is unrolled: ``sigmoid(s_tt)`` times the lambdas and
    refreshes of the layers t + 1 ... l and the scales gamma / sigma of the BNs of the layers
    t ... l - 1, through which o goes into the next layer's shortcut. What is no factor of a channel is
    left out: E, which is added, and the norms of vision transformers.

    Args:
        model (nn.Module): A network, in eval mode.

    Raises:
        UserError: If it has no layer attention.
    """

    def __init__(self, model: nn.Module) -> None:
        self.forms = {name: module for name, module in model.named_modules()
                      if isinstance(module, Interaction) and module.records}
        if not self.forms:
            raise UserError('the config\'s model has no layer attention: choose one of MRLA or DLA.')
        self.rows: Dict[Interaction, List[Tensor]] = {form: [] for form in self.forms.values()}
        for form in self.forms.values():
            form.recorder = self.record

    def record(self, form: Interaction, index: int, newest: Tensor,
               carried: Optional[Tensor]) -> None:
        """See :meth:`mmdla.attention.Interaction.record`."""
        rows, newest = self.rows[form], newest.float().cpu()
        if carried is not None and index:
            factor = carried.float().cpu() * form.norm_scale(index - 1).float().cpu()
            newest = torch.cat([rows[-1] * factor[..., None, :], newest], 1)
        rows.append(newest)

    @property
    def softmax(self) -> bool:
        """Whether the weights are softmax scores, as in the base forms."""
        return any(form.softmax for form in self.rows)

    def maps(self) -> Dict[str, Tensor]:
        """Of each stage the weight of layer t in layer l for every image, head and channel of it.

        Returns:
            dict: By the name of the stage, or of the group of blocks, tensors
            (images, layers l, layers t, heads, channels of a head), zero where t > l.
        """
        found = {}
        for name, form in self.forms.items():
            passes = zip(*[iter(self.rows[form])] * form.num_layers)
            stage = f'stage {int(name.rpartition(".")[2]) + 1}'
            for rows in passes:
                starts = [i for i, row in enumerate(rows) if row.shape[1] == 1] + [len(rows)]
                for first, end in zip(starts, starts[1:]):
                    part = stage if len(starts) == 2 else f'{stage} of blocks {first + 1} to {end}'
                    square = torch.stack([
                        torch.nn.functional.pad(row, (0, 0, 0, end - first - row.shape[1]))
                        for row in rows[first:end]], 1)
                    found.setdefault(part, []).append(square.unflatten(3, (-1, form.dim_per_head)))
        return {part: torch.cat(squares) for part, squares in found.items()}
