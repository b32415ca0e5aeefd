_base_ = 'mask_rcnn_mrla_l18_mini.py'

model = dict(
    backbone=dict(type='mmdla.DLAResNet', context_unit=dict(type='DSU', reduction=4)))
