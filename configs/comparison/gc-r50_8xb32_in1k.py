_base_ = [
    '../_base_/models/resnet_imagenet.py', '../_base_/imagenet.py', '../_base_/imagenet_schedule.py'
]

model = dict(
    backbone=dict(
        depth=50,
        plugins=[
            dict(cfg=dict(type='ContextBlock', ratio=1 / 16), stages=(False, True, True, True))
        ]))
