_base_ = 'faster_rcnn_dla_l50_1x_coco.py'

model = dict(
    backbone=dict(
        variant='base',
        init_cfg=dict(checkpoint='checkpoints/dla_b50_in1k.pth')))
