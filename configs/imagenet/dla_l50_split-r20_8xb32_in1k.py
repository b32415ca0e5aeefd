_base_ = [
    '../_base_/models/dla_l_imagenet.py', '../_base_/imagenet.py', '../_base_/imagenet_schedule.py'
]

# the form of the released detectors: the start of *_rcnn_dla_l50_split-r20_1x_coco.py
model = dict(backbone=dict(depth=50, context_unit=dict(form='split', reduction=20)))
