"""Backbones: a host's network, and what connects its layers."""
from .resnet import ResNet
from .systems import (
    DIAResNet,
    DLAResNet,
    DLAVisionTransformer,
    MRLAResNet,
    MRLAVisionTransformer,
    RLAResNet,
)
from .vision_transformer import VisionTransformer

__all__ = [
    'DIAResNet', 'DLAResNet', 'DLAVisionTransformer', 'MRLAResNet', 'MRLAVisionTransformer',
    'RLAResNet', 'ResNet', 'VisionTransformer'
]
