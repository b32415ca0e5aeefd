"""DLA-L-18 classifier for generated shapes; its backbone is that of faster_rcnn_dla_l18_mini.py."""
_base_ = '../_base_/mini_shapes.py'

model = dict(
    backbone=dict(type='mmdla.DLAResNet', context_unit=dict(type='mmdla.DSU', reduction=4)))
