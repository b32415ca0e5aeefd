_base_ = [
    '../_base_/models/dla_l_released_cifar.py', '../_base_/cifar10.py', '../_base_/cifar_schedule.py'
]

model = dict(backbone=dict(depth=20), head=dict(num_classes=10))
