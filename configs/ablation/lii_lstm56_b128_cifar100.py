"""DLA, Table 6: LII with LSTM. The row DIA is cifar/dia56_*, DLA's are cifar/dla_l56_released_*."""
_base_ = '../cifar/dia56_b128_cifar100.py'

model = dict(backbone=dict(context_unit=dict(_delete_=True, type='LSTM')))
