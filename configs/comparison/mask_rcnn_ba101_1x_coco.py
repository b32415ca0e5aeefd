_base_ = 'mask_rcnn_ba50_1x_coco.py'

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='checkpoints/ba101_in1k.pth')))
