_base_ = [
    '../_base_/models/resnet_imagenet.py', '../_base_/imagenet.py', '../_base_/imagenet_schedule.py'
]

# size: of the stages' maps at 224 pixels
model = dict(
    backbone=dict(
        depth=101,
        plugins=[
            dict(
                cfg=dict(type='mmdla.AAConv2d'),
                position='conv2',
                stages=(False, True, True, True),
                per_stage=dict(size=(56, 28, 14, 7)))
        ]))
