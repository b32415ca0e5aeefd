_base_ = 'resnet_cifar.py'

model = dict(
    backbone=dict(type='mmdla.DIAResNet', context_unit=dict(type='DIA', reduction=4)))
