from .backbones import (
    DIAResNet,
    DLAResNet,
    DLAVisionTransformer,
    MRLAResNet,
    MRLAVisionTransformer,
    PlainResNet,
    RLAResNet,
)
from .cifar_preprocessor import CIFARDataPreprocessor

__all__ = [
    'CIFARDataPreprocessor', 'DIAResNet', 'DLAResNet', 'DLAVisionTransformer', 'MRLAResNet',
    'MRLAVisionTransformer', 'PlainResNet', 'RLAResNet'
]
