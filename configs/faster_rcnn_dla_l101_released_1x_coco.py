_base_ = 'faster_rcnn_dla_l101_1x_coco.py'

# see faster_rcnn_dla_l50_released_1x_coco.py
model = dict(
    backbone=dict(
        context_unit=dict(type='DSU', gates='split', reduction=20),
        init_cfg=dict(checkpoint='checkpoints/dla_l101_released_r20_in1k.pth')))
