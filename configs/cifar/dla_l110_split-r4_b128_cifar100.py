_base_ = [
    '../_base_/models/dla_l_cifar.py', '../_base_/cifar100.py', '../_base_/cifar_schedule.py'
]

# the form that the released code runs and that the paper counts
model = dict(
    backbone=dict(depth=110, context_unit=dict(form='split', reduction=4)),
    head=dict(num_classes=100))
