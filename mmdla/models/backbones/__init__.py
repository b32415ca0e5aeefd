from .layer_attention_resnet import DLAResNet, MRLAResNet

__all__ = ['DLAResNet', 'MRLAResNet']
