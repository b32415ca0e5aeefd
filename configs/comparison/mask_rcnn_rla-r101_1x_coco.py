_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py', '../_base_/coco_instance.py',
    '../_base_/schedule_1x.py', '../_base_/runtime.py'
]

model = dict(
    backbone=dict(
        type='mmdla.RLAResNet',
        depth=101,
        hidden_channels=32,
        init_cfg=dict(checkpoint='checkpoints/rla-r101_in1k.pth')))
