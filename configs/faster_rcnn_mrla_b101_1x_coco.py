_base_ = 'faster_rcnn_mrla_l50_1x_coco.py'

model = dict(
    backbone=dict(
        depth=101,
        variant='base',
        deep_stem=True,
        init_cfg=dict(checkpoint='checkpoints/mrla_b101_in1k.pth')))
