_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py', '_base_/coco_detection.py',
    '_base_/schedule_1x.py', '_base_/runtime.py'
]

model = dict(
    backbone=dict(
        type='mmdla.DLAResNet',
        depth=101,
        variant='base',
        init_cfg=dict(checkpoint='checkpoints/dla_b101_in1k.pth')))
