_base_ = 'faster_rcnn_resnet50_1x_coco.py'

model = dict(
    backbone=dict(
        plugins=[
            dict(cfg=dict(type='mmdla.BridgeAttention', reduction=16), position='bridge')
        ],
        init_cfg=dict(checkpoint='checkpoints/ba50_in1k.pth')))
