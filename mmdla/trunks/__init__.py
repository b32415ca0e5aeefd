"""Backbones: a host's network, and what connects its layers."""
from .convnext import ConvNeXt
from .inverted_residual import EfficientNet, MobileNetV2, MobileNetV3
from .pvt import PyramidVisionTransformer, PyramidVisionTransformerV2
from .resnet import ResNet
from .resnet_family import RegNet, Res2Net, ResNeSt, ResNetV1d, ResNeXt, SEResNet
from .swin import DetSwinTransformer, SwinTransformer
from .systems import (
    DIAResNet,
    DLAResNet,
    DLAVisionTransformer,
    MRLAResNet,
    MRLAVisionTransformer,
    RLAResNet,
)
from .timm_backbone import TIMMBackbone
from .vision_transformer import VisionTransformer
from .vit_sam import ViTSAM

__all__ = [
    'ConvNeXt', 'DIAResNet', 'DLAResNet', 'DLAVisionTransformer', 'DetSwinTransformer', 'EfficientNet',
    'MRLAResNet', 'MRLAVisionTransformer', 'MobileNetV2', 'MobileNetV3', 'PyramidVisionTransformer',
    'PyramidVisionTransformerV2', 'RLAResNet', 'RegNet', 'Res2Net', 'ResNeSt', 'ResNeXt', 'ResNet',
    'ResNetV1d', 'SEResNet', 'SwinTransformer', 'TIMMBackbone', 'ViTSAM', 'VisionTransformer'
]
