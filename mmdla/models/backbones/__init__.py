from .layer_attention_resnet import DIAResNet, DLAResNet, MRLAResNet, PlainResNet
from .layer_attention_vit import DLAVisionTransformer, MRLAVisionTransformer
from .rla_resnet import RLAResNet

__all__ = [
    'DIAResNet', 'DLAResNet', 'DLAVisionTransformer', 'MRLAResNet', 'MRLAVisionTransformer',
    'PlainResNet', 'RLAResNet'
]
