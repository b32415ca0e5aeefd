_base_ = 'mask_rcnn_resnet50_1x_coco.py'

model = dict(
    backbone=dict(
        type='mmdla.RLAResNet',
        hidden_channels=32,
        init_cfg=dict(checkpoint='checkpoints/rla50_in1k.pth')))
