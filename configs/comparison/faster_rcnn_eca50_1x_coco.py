_base_ = 'faster_rcnn_resnet50_1x_coco.py'

model = dict(
    backbone=dict(
        plugins=[dict(cfg=dict(type='mmdla.ECA'))],
        init_cfg=dict(checkpoint='checkpoints/eca50_in1k.pth')))
