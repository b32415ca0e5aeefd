"""ResNet-18 Faster R-CNN for BCCD, small enough for a CPU: the detector of docs/upgrade.md."""
_base_ = [
    '../_base_/models/faster_rcnn_mini.py', '../_base_/bccd_small.py', '../_base_/mini_schedule.py'
]

model = dict(
    backbone=dict(type='mmdla.ResNet'), roi_head=dict(bbox_head=dict(num_classes=3)))
