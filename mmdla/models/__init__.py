from .backbones import DLAResNet, MRLAResNet

__all__ = ['DLAResNet', 'MRLAResNet']
