_base_ = [
    '../_base_/models/resnet_imagenet.py', '../_base_/imagenet.py', '../_base_/imagenet_schedule.py'
]

# five blocks, placed as the non-local paper places its own; the count decides no other detail
model = dict(
    backbone=dict(
        depth=101,
        plugins=[
            dict(
                cfg=dict(type='mmdla.DoubleAttention', reduction=2),
                position='after_block',
                blocks=((), (1, 3), (6, 13, 20), ()))
        ]))
