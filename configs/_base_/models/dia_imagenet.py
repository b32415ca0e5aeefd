_base_ = 'resnet_imagenet.py'

model = dict(backbone=dict(type='mmdla.DIAResNet', context_unit=dict(type='DIA', reduction=20)))
