_base_ = [
    '../_base_/models/dla_l_imagenet.py', '../_base_/imagenet.py', '../_base_/imagenet_schedule.py'
]

model = dict(backbone=dict(depth=50))
