_base_ = 'faster_rcnn_eca50_1x_coco.py'

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='checkpoints/eca101_in1k.pth')))
