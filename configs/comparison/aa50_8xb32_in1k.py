_base_ = 'resnet50_8xb32_in1k.py'

# size: of the stages' maps at 224 pixels
model = dict(
    backbone=dict(
        plugins=[
            dict(
                cfg=dict(type='mmdla.AAConv2d'),
                position='conv2',
                stages=(False, True, True, True),
                per_stage=dict(size=(56, 28, 14, 7)))
        ]))
