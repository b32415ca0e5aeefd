_base_ = '../../cifar/resnet20_b128_cifar10.py'

model = dict(backbone=dict(plugins=[dict(cfg=dict(type='mmdla.SE', reduction=16))]))
