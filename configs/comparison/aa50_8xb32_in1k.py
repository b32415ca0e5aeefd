_base_ = 'resnet50_8xb32_in1k.py'

# size: of the stages' maps at 224 pixels; pool=(1, 2, 1, 1) beside it runs the attention of the
# 28x28 maps at 14x14, for less memory
model = dict(
    backbone=dict(
        plugins=[
            dict(
                cfg=dict(type='mmdla.AAConv2d'),
                position='conv2',
                stages=(False, True, True, True),
                per_stage=dict(size=(56, 28, 14, 7)))
        ]))
