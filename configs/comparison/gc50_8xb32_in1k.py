_base_ = 'resnet50_8xb32_in1k.py'

model = dict(
    backbone=dict(
        plugins=[
            dict(cfg=dict(type='ContextBlock', ratio=1 / 16), stages=(False, True, True, True))
        ]))
