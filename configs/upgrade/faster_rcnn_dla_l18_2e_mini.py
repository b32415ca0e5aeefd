"""Layer attention for faster_rcnn_resnet18_mini.py, as trained."""
_base_ = [
    '../_base_/models/faster_rcnn_mini.py', '../_base_/mini_detection.py', '../_base_/mini_upgrade_2e.py'
]

start_from = 'work_dirs/faster_rcnn_resnet18_mini/epoch_6.pth'
model = dict(
    backbone=dict(
        type='mmdla.DLAResNet',
        attention_init='zero',
        context_unit=dict(type='mmdla.DSU', reduction=4)))
