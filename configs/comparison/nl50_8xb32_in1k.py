_base_ = 'resnet50_8xb32_in1k.py'

# one block, before the last of stage 3; five: blocks=((), (1, 3), (1, 3, 5), ())
model = dict(
    backbone=dict(
        plugins=[
            dict(
                cfg=dict(type='NonLocal2d', reduction=2),
                position='after_block',
                blocks=((), (), (-2, ), ()))
        ]))
