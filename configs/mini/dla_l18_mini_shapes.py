_base_ = 'mrla_l18_mini_shapes.py'

model = dict(
    backbone=dict(type='mmdla.DLAResNet', context_unit=dict(type='DSU', reduction=4)))
