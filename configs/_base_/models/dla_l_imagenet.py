_base_ = 'mrla_l_imagenet.py'

model = dict(
    backbone=dict(type='mmdla.DLAResNet', context_unit=dict(type='DSU', reduction=20)))
