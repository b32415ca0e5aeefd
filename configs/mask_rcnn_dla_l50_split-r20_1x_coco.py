_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py', '_base_/coco_instance.py',
    '_base_/schedule_1x.py', '_base_/runtime.py'
]

# the form of the released code
model = dict(
    backbone=dict(
        type='mmdla.DLAResNet',
        context_unit=dict(type='mmdla.DSU', form='split', reduction=20),
        init_cfg=dict(checkpoint='checkpoints/dla_l50_split-r20_in1k.pth')))
