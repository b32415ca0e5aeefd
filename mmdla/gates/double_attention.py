"""Double attention (A2-Net, NeurIPS 2018)."""
from mmcv.cnn import build_norm_layer
from mmengine.model import constant_init
from torch import Tensor, nn

from mmdla.registry import MODELS

from .bottleneck import bottleneck


@MODELS.register_module()
class DoubleAttention(nn.Module):
    """A block that gathers global descriptors of a map and hands them back to its positions.

    ``G = A softmax(B)^T`` with the softmax over the positions (gathering), ``Z = G softmax(V)``
    with the softmax over the descriptors (distribution), ``x + BN(W Z)``; A, B and V are 1x1
    convolutions of x. The gamma of the BN starts at 0, the block as the identity.

    Args:
        in_channels (int): C.
        reduction (int): A, B and V have C // reduction channels.
        norm_cfg (dict): Of the norm at the end.

    Raises:
        UserError: If reduction exceeds C.
    """

    def __init__(self, in_channels: int, reduction: int = 2, norm_cfg: dict = dict(type='BN')) -> None:
        super().__init__()
        channels = bottleneck(in_channels, reduction)
        self.features, self.gathering, self.distribution = (
            nn.Conv2d(in_channels, channels, 1, bias=False) for _ in range(3))
        self.out = nn.Conv2d(channels, in_channels, 1, bias=False)
        self.norm = build_norm_layer(norm_cfg, in_channels)[1]
        constant_init(self.norm, 0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        features = self.features(x).flatten(2)
        gathering = self.gathering(x).flatten(2).softmax(2)
        distribution = self.distribution(x).flatten(2).softmax(1)
        descriptors = features @ gathering.transpose(1, 2)
        z = (descriptors @ distribution).unflatten(2, x.shape[2:])
        return x + self.norm(self.out(z))
