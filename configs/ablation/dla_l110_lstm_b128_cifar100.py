"""DLA, Table 4: LSTM as the context unit. The row DSU is cifar/dla_l110_released_*."""
_base_ = '../cifar/dla_l110_released_b128_cifar100.py'

model = dict(backbone=dict(context_unit=dict(_delete_=True, type='LSTM')))
