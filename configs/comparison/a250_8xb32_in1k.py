_base_ = 'resnet50_8xb32_in1k.py'

# five blocks, placed as the non-local paper places its own; the count decides no other detail
model = dict(
    backbone=dict(
        plugins=[
            dict(
                cfg=dict(type='mmdla.DoubleAttention', reduction=2),
                position='after_block',
                blocks=((), (1, 3), (1, 3, 5), ()))
        ]))
