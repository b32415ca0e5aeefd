_base_ = [
    '../_base_/models/mrla_l_cifar.py', '../_base_/cifar100.py', '../_base_/cifar_schedule.py'
]

model = dict(backbone=dict(depth=110), head=dict(num_classes=100))
