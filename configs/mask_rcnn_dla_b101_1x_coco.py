_base_ = 'mask_rcnn_dla_l50_1x_coco.py'

model = dict(
    backbone=dict(
        depth=101,
        variant='base',
        init_cfg=dict(checkpoint='checkpoints/dla_b101_in1k.pth')))
