_base_ = [
    '../_base_/models/resnet_imagenet.py', '../_base_/imagenet.py', '../_base_/imagenet_schedule.py'
]

# one block, before the last of stage 3; five: blocks=((), (1, 3), (1, 3, 5), ())
model = dict(
    backbone=dict(
        depth=50,
        plugins=[
            dict(
                cfg=dict(type='NonLocal2d', reduction=2),
                position='after_block',
                blocks=((), (), (-2, ), ()))
        ]))
