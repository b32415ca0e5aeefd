"""DLA, Table 5: identity before the DSU. The row sigmoid is cifar/dla_l110_released_*."""
_base_ = '../cifar/dla_l110_released_b128_cifar100.py'

model = dict(backbone=dict(context_unit=dict(normalizer='identity')))
