"""DLA, Table 5: identity before the DSU. The row sigmoid is cifar/dla_l110_split-r4_*."""
_base_ = [
    '../_base_/models/dla_l_cifar.py', '../_base_/cifar100.py', '../_base_/cifar_schedule.py'
]

model = dict(
    backbone=dict(depth=110, context_unit=dict(form='split', normalizer='identity')),
    head=dict(num_classes=100))
