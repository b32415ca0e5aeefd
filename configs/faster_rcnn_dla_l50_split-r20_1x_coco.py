_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py', '_base_/coco_detection.py',
    '_base_/schedule_1x.py', '_base_/runtime.py'
]

# the form of the released code and of the paper's Table 3 (44.2M parameters)
model = dict(
    backbone=dict(
        type='mmdla.DLAResNet',
        context_unit=dict(type='mmdla.DSU', form='split', reduction=20),
        init_cfg=dict(checkpoint='checkpoints/dla_l50_split-r20_in1k.pth')))
