_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py', '../_base_/coco_instance.py',
    '../_base_/schedule_1x.py', '../_base_/runtime.py'
]

# one block, before the last of stage 3; it starts as the identity, and the rest as torchvision's
model = dict(
    backbone=dict(
        type='mmdla.ResNet',
        depth=101,
        plugins=[
            dict(
                cfg=dict(type='NonLocal2d', reduction=2),
                position='after_block',
                blocks=((), (), (-2, ), ()))
        ],
        init_cfg=dict(checkpoint='torchvision://resnet101')))
