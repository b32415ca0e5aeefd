"""RLA-ResNet."""
from functools import partial
from typing import Tuple

import torch
from mmcv.cnn import build_norm_layer
from torch import Tensor

from mmdla.errors import UserError
from mmdla.models.layers.rla import RLA
from mmdla.registry import MODELS

from .interaction_resnet import InteractionResNet, Stage


@MODELS.register_module()
class RLAResNet(InteractionResNet):
    """ResNet with recurrent layer aggregation (RLA_g of RLA-Net, NeurIPS 2021).

    ``forward`` takes images (B, 3, H, W) and returns a tuple of the outputs of the stages in
    ``out_indices``, each (B, C_i, H_i, W_i).

    Args:
        depth (int): 18, 34, 50, 101 or 152; on the CIFAR trunk any 9n + 2.
        hidden_channels (int): k, the channels of the hidden map h.
        hidden_output (bool): Whether the last output is ``[x, ReLU(BN(h))]``, with k channels
            more: for a classifier. Without it, as in a detector, a checkpoint's tensors of that
            norm are left aside.
        **kwargs: ``trunk``, ``plugins`` and the arguments of mmpretrain's ResNet, see
            :class:`InteractionResNet`.

    Raises:
        UserError: For an argument that is out of its range.
    """

    # of a checkpoint's tensors
    left_aside = ('hidden_norm.', )

    def __init__(self, depth: int, hidden_channels: int = 32, hidden_output: bool = False,
                 **kwargs) -> None:
        self.hidden_channels = hidden_channels
        self.hidden_output = hidden_output
        super().__init__(depth, RLA, {}, **kwargs)
        if hidden_output:
            self.left_aside = ()
            if max(self.out_indices) + 1 < self.num_stages:
                raise UserError('hidden_output=True is of the last stage: have it in out_indices.')
            self.hidden_norm = build_norm_layer(self.norm_cfg, hidden_channels)[1]
            self.feat_dim += hidden_channels

    def make_res_layer(self, **kwargs) -> Stage:
        last = len(self.res_layers) == self.num_stages - 1 and not self.hidden_output
        self.interaction = partial(
            RLA, hidden_channels=self.hidden_channels, stride=kwargs['stride'], last=last)
        return super().make_res_layer(extra_channels=self.hidden_channels, **kwargs)

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        x = self.stem(x) if self.deep_stem else self.relu(self.norm1(self.conv1(x)))
        x = self.maxpool(x)
        h = x.new_zeros(x.shape[0], self.hidden_channels, *x.shape[2:])
        outs = []
        for index, stage in enumerate(self.stages):
            x, h = stage.run(x, h)
            if index in self.out_indices:
                outs.append(x)
        if self.hidden_output:
            outs[-1] = torch.cat([x, self.hidden_norm(h).relu()], 1)
        return tuple(outs)
