_base_ = [
    '../_base_/models/resnet_imagenet.py', '../_base_/imagenet.py', '../_base_/imagenet_schedule.py'
]

model = dict(backbone=dict(depth=101, plugins=[dict(cfg=dict(type='mmdla.SE', reduction=16))]))
