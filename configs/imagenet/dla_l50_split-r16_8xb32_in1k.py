_base_ = [
    '../_base_/models/dla_l_imagenet.py', '../_base_/imagenet.py', '../_base_/imagenet_schedule.py'
]

# the form of the released code
model = dict(backbone=dict(depth=50, context_unit=dict(form='split', reduction=16)))
