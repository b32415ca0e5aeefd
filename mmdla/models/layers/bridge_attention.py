"""Bridge attention (BA-Net, ECCV 2022)."""
from typing import Sequence

from mmcv.cnn import build_norm_layer
from mmengine.dist import get_world_size
from torch import Tensor, nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

from mmdla.errors import UserError
from mmdla.ops import gap, scale
from mmdla.registry import MODELS

from .context_unit import bottleneck


@MODELS.register_module()
class BridgeAttention(nn.Module):
    """A gate on the channels of the residual branch u that reads the block's hidden maps too.

    ``u * sigmoid(Q ReLU(sum_i BN_i(P_i GAP(f_i))))``, f_i the outputs of the block's ReLUs and,
    last, u. The BN are over the batch alone: in training, one image on a GPU has no variance,
    see ``norm_cfg``. With norm_eval=True, as in the detectors here, they are fixed to what
    pretraining left.

    Args:
        in_channels (int): C.
        hidden_channels (Sequence[int]): Of the hidden maps.
        reduction (int): r; P_i leads to C // r channels.
        norm_cfg (dict): Of BN_i. ``dict(type='SyncBN')`` takes the statistics of all GPUs.

    Raises:
        UserError: If r exceeds C; in training, for one image with statistics of its own.
    """

    def __init__(self,
                 in_channels: int,
                 hidden_channels: Sequence[int],
                 reduction: int = 16,
                 norm_cfg: dict = dict(type='BN1d')) -> None:
        super().__init__()
        squeezed = bottleneck(in_channels, reduction)
        self.squeezes = nn.ModuleList(
            nn.Sequential(
                nn.Linear(channels, squeezed, bias=False), build_norm_layer(norm_cfg, squeezed)[1])
            for channels in (*hidden_channels, in_channels))
        self.expand = nn.Linear(squeezed, in_channels, bias=False)

    def forward(self, u: Tensor, hidden: Sequence[Tensor]) -> Tensor:
        """
        Args:
            u (Tensor): Residual branch, (B, C, H, W).
            hidden (Sequence[Tensor]): Maps that led to it, (B, hidden_channels[i], *, *).
        """
        norm = self.squeezes[-1][1]
        if norm.training and len(u) == 1 and alone(norm):
            raise UserError('bridge attention (BA) takes statistics over the images of a batch, and one '
                            'image has none: train with two images or more on a GPU, with '
                            'norm_eval=True from a pretrained backbone, or with '
                            'norm_cfg=dict(type=\'SyncBN\') in the plugin\'s cfg on several GPUs.')
        squeezed = sum(squeeze(gap(f)) for squeeze, f in zip(self.squeezes, (*hidden, u)))
        return scale(u, self.expand(squeezed.relu()).sigmoid())


def alone(norm: nn.Module) -> bool:
    """Whether a norm takes statistics over the images of this process alone."""
    shared = isinstance(norm, SyncBatchNorm) and get_world_size() > 1
    return isinstance(norm, _BatchNorm) and not shared
