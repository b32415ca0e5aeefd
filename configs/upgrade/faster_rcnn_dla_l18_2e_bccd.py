"""Layer attention for custom/faster_rcnn_resnet18_bccd.py, as trained: see docs/upgrade.md."""
_base_ = [
    '../_base_/models/faster_rcnn_mini.py', '../_base_/bccd_small.py', '../_base_/mini_upgrade_2e.py'
]

start_from = 'work_dirs/faster_rcnn_resnet18_bccd/epoch_6.pth'
model = dict(
    backbone=dict(
        type='mmdla.DLAResNet',
        attention_init='zero',
        context_unit=dict(type='mmdla.DSU', reduction=4)),
    roi_head=dict(bbox_head=dict(num_classes=3)))
