_base_ = 'aa50_8xb32_in1k.py'

# the attention of the 28x28 maps at 14x14: less memory, and the published FLOPs
model = dict(
    backbone=dict(
        plugins=[
            dict(
                cfg=dict(type='mmdla.AAConv2d'),
                position='conv2',
                stages=(False, True, True, True),
                per_stage=dict(size=(56, 28, 14, 7), pool=(1, 2, 1, 1)))
        ]))
