_base_ = 'faster_rcnn_resnet50_1x_coco.py'

# one block, before the last of stage 3; it starts as the identity, and the rest as torchvision's
model = dict(
    backbone=dict(
        plugins=[
            dict(
                cfg=dict(type='NonLocal2d', reduction=2),
                position='after_block',
                blocks=((), (), (-2, ), ()))
        ]))
