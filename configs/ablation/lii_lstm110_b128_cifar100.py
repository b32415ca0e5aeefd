"""DLA, Table 6: LII with LSTM. The row DIA is cifar/dia110_*, DLA's is cifar/dla_l110_split-r4_*."""
_base_ = [
    '../_base_/models/dia_cifar.py', '../_base_/cifar100.py', '../_base_/cifar_schedule.py'
]

model = dict(
    backbone=dict(depth=110, context_unit=dict(_delete_=True, type='mmdla.LSTM')),
    head=dict(num_classes=100))
