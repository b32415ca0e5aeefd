_base_ = 'mask_rcnn_dla_l50_1x_coco.py'

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='checkpoints/dla_l101_in1k.pth')))
