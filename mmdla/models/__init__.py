from .backbones import DIAResNet, DLAResNet, MRLAResNet, PlainResNet

__all__ = ['DIAResNet', 'DLAResNet', 'MRLAResNet', 'PlainResNet']
