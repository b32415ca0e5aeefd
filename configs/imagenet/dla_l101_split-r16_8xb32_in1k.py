_base_ = [
    '../_base_/models/dla_l_imagenet.py', '../_base_/imagenet.py', '../_base_/imagenet_schedule.py'
]

# the form of the released code; 47.8M parameters, as the paper prints
model = dict(backbone=dict(depth=101, context_unit=dict(form='split', reduction=16)))
