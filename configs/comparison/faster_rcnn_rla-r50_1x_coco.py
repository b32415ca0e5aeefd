_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py', '../_base_/coco_detection.py',
    '../_base_/schedule_1x.py', '../_base_/runtime.py'
]

model = dict(
    backbone=dict(
        type='mmdla.RLAResNet',
        hidden_channels=32,
        init_cfg=dict(checkpoint='checkpoints/rla-r50_in1k.pth')))
