_base_ = '../../cifar/resnet110_b128_cifar100.py'

model = dict(backbone=dict(plugins=[dict(cfg=dict(type='mmdla.SE', reduction=16))]))
