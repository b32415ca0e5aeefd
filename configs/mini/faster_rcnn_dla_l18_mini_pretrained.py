"""faster_rcnn_dla_l18_mini.py from the backbone of dla_l18_mini_shapes.py, see tools/quickstart.sh."""
_base_ = [
    '../_base_/models/faster_rcnn_mini.py', '../_base_/mini_detection.py', '../_base_/mini_schedule.py'
]

model = dict(
    backbone=dict(
        type='mmdla.DLAResNet',
        context_unit=dict(type='mmdla.DSU', reduction=4),
        init_cfg=dict(
            _delete_=True, type='Pretrained', checkpoint='checkpoints/dla_l18_mini_shapes.pth')))
