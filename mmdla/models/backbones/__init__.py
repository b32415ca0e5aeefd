from .layer_attention_resnet import DIAResNet, DLAResNet, MRLAResNet, PlainResNet

__all__ = ['DIAResNet', 'DLAResNet', 'MRLAResNet', 'PlainResNet']
