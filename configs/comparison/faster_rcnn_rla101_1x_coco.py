_base_ = 'faster_rcnn_rla50_1x_coco.py'

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='checkpoints/rla101_in1k.pth')))
