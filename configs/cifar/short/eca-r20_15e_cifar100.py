_base_ = [
    '../../_base_/models/resnet_cifar.py', '../../_base_/cifar100.py', '../../_base_/cifar_15e.py'
]

model = dict(
    backbone=dict(depth=20, plugins=[dict(cfg=dict(type='mmdla.ECA'))]),
    head=dict(num_classes=100))
