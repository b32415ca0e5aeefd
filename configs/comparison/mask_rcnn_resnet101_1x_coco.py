_base_ = 'mask_rcnn_resnet50_1x_coco.py'

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')))
