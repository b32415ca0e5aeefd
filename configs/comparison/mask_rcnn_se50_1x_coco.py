_base_ = 'mask_rcnn_resnet50_1x_coco.py'

model = dict(
    backbone=dict(
        plugins=[dict(cfg=dict(type='mmdla.SE', reduction=16))],
        init_cfg=dict(checkpoint='checkpoints/se50_in1k.pth')))
