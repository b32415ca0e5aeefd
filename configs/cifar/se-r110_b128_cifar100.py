_base_ = [
    '../_base_/models/resnet_cifar.py', '../_base_/cifar100.py', '../_base_/cifar_schedule.py'
]

model = dict(
    backbone=dict(depth=110, plugins=[dict(cfg=dict(type='mmdla.SE', reduction=16))]),
    head=dict(num_classes=100))
