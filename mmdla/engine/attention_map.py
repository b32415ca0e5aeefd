"""The attention of each layer over the layers of its stage (DLA, Figure 2)."""
from typing import Dict, List

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdla.errors import UserError
from mmdla.models.layers.interaction import MRLABase, MRLALight


class AttentionRecorder:
    """Writes down the attention of every forward pass of a model from now on.

    Base forms: the softmax scores a_lt of Eq. 2, after the refresh of the keys. Light forms: the
    weight that v_t has in o_l when Eq. 3 is unrolled: ``sigmoid(s_tt)`` times the lambdas and gates
    of the layers t + 1 ... l and the scales gamma / sigma of the BNs of the layers t ... l - 1,
    through which o goes into the next layer's shortcut. What is no factor of a channel is left
    out: E, which is added, and the norms of vision transformers.

    Args:
        model (nn.Module): A network, in eval mode.

    Raises:
        UserError: If it has no layer attention.
    """

    def __init__(self, model: nn.Module) -> None:
        self.rows: Dict[str, List[Tensor]] = {}
        self.interactions = {name: module for name, module in model.named_modules()
                             if isinstance(module, (MRLABase, MRLALight))}
        if not self.interactions:
            raise UserError('the config\'s model has no layer attention: choose one of MRLA or DLA.')
        for name, module in self.interactions.items():
            self.rows[name] = []
            watch = watch_base if isinstance(module, MRLABase) else watch_light
            watch(module, self.rows[name])

    @property
    def softmax(self) -> bool:
        """Whether the weights are softmax scores, as in the base forms."""
        return any(isinstance(module, MRLABase) for module in self.interactions.values())

    def maps(self) -> Dict[str, Tensor]:
        """Of each stage the weight of layer t in layer l for every image, head and channel of it.

        Returns:
            dict: By the name of the stage, or of the group of blocks, tensors
            (images, layers l, layers t, heads, channels of a head), zero where t > l.
        """
        found = {}
        for name, module in self.interactions.items():
            dim = module.layers[0].dim_per_head
            passes = zip(*[iter(self.rows[name])] * len(module.layers))
            stage = name.replace('.attention', '').rpartition('backbone.')[2]
            for rows in passes:
                starts = [i for i, row in enumerate(rows) if row.shape[1] == 1] + [len(rows)]
                for first, end in zip(starts, starts[1:]):
                    part = stage if len(starts) == 2 else f'{stage} of blocks {first + 1} to {end}'
                    square = torch.stack([
                        torch.nn.functional.pad(row, (0, 0, 0, end - first - row.shape[1]))
                        for row in rows[first:end]], 1)
                    found.setdefault(part, []).append(square.unflatten(3, (-1, dim)))
        return {part: torch.cat(squares) for part, squares in found.items()}


def watch_base(module: MRLABase, rows: List[Tensor]) -> None:
    """Write the scores (B, l, C) of each layer l to ``rows``."""
    original = module.scores

    def scores(*args) -> Tensor:
        result = original(*args)
        rows.append(result.detach().float().cpu())
        return result

    module.scores = scores


def watch_light(module: MRLALight, rows: List[Tensor]) -> None:
    """Write the unrolled weights (B, l, C) of each layer l to ``rows``."""
    original = module.factors

    def factors(index: int, *args) -> tuple:
        result = original(index, *args)
        score, decay, gate, _ = (None if f is None else f.detach().float().cpu() for f in result[0])
        carried = decay if gate is None else decay * gate[:, None]
        carried = carried * scale_of(module.norms[index - 1]) if index else carried
        past = [rows[-1] * carried] if index else []
        rows.append(torch.cat([*past, score[:, None]], 1))
        return result

    module.factors = factors


def scale_of(norm: nn.Module) -> Tensor:
    """What a norm in eval mode multiplies each channel by, (C, ), or 1 for those that do not."""
    if not isinstance(norm, _BatchNorm):
        return torch.ones(1)
    scale = (norm.running_var + norm.eps).rsqrt()
    return (scale if norm.weight is None else norm.weight * scale).detach().float().cpu()
