"""Well-known namings of classifiers' checkpoints, and from each to the hosts' names."""
from typing import Tuple

from .convnext import CONVNEXT
from .efficientnet import EFFICIENTNET
from .mobilenet import MOBILENET_V2, MOBILENET_V3
from .naming import Naming, present
from .pvt import PVT_V1, PVT_V2
from .regnet import REGNET
from .resnet import RES2NET, RESNET
from .swin import SWIN
from .vision_transformer import VISION_TRANSFORMER, VIT_SAM

# by the host's class
NAMINGS = {
    'ConvNeXt': CONVNEXT,
    'EfficientNet': EFFICIENTNET,
    'MobileNetV2': MOBILENET_V2,
    'MobileNetV3': MOBILENET_V3,
    'PyramidVisionTransformer': PVT_V1,
    'PyramidVisionTransformerV2': PVT_V2,
    'RegNet': REGNET,
    'Res2Net': RES2NET,
    'ResNet': RESNET,
    'SwinTransformer': SWIN,
    'ViTSAM': VIT_SAM,
    'VisionTransformer': VISION_TRANSFORMER,
}


def namings_of(cls: type) -> Tuple[Naming, ...]:
    """The namings that are known for a host's class or one that is built on it."""
    return next((NAMINGS[base.__name__] for base in cls.__mro__ if base.__name__ in NAMINGS), ())


__all__ = ['NAMINGS', 'Naming', 'namings_of', 'present']
