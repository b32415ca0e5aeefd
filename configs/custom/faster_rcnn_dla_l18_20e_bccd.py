_base_ = [
    '../_base_/models/faster_rcnn_mini.py', '../_base_/bccd_small.py', '../_base_/bccd_20e.py'
]

model = dict(
    backbone=dict(type='mmdla.DLAResNet', context_unit=dict(type='mmdla.DSU', reduction=4)),
    roi_head=dict(bbox_head=dict(num_classes=3)))
