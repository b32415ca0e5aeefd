_base_ = [
    '../_base_/models/resnet_imagenet.py', '../_base_/imagenet.py', '../_base_/imagenet_schedule.py'
]

# another width in each stage: per_stage=dict(kernel_size=(3, 5, 5, 7)) beside cfg
model = dict(backbone=dict(depth=50, plugins=[dict(cfg=dict(type='mmdla.ECA'))]))
