from .cifar import CIFAR, as_it_is

__all__ = ['CIFAR', 'as_it_is']
