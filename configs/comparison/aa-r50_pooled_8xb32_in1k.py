_base_ = [
    '../_base_/models/resnet_imagenet.py', '../_base_/imagenet.py', '../_base_/imagenet_schedule.py'
]

# the attention of the 28x28 maps at 14x14: less memory, and the published FLOPs
model = dict(
    backbone=dict(
        depth=50,
        plugins=[
            dict(
                cfg=dict(type='mmdla.AAConv2d'),
                position='conv2',
                stages=(False, True, True, True),
                per_stage=dict(size=(56, 28, 14, 7), pool=(1, 2, 1, 1)))
        ]))
