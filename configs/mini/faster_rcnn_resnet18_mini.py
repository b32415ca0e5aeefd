"""ResNet-18 Faster R-CNN for the set of tools/data/make_mini_coco.py, small enough for a CPU."""
_base_ = [
    '../_base_/models/faster_rcnn_mini.py', '../_base_/mini_detection.py', '../_base_/mini_schedule.py'
]

model = dict(backbone=dict(type='mmdla.ResNet'))
