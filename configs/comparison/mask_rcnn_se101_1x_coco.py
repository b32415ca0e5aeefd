_base_ = 'mask_rcnn_se50_1x_coco.py'

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='checkpoints/se101_in1k.pth')))
