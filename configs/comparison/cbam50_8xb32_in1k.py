_base_ = 'resnet50_8xb32_in1k.py'

model = dict(backbone=dict(plugins=[dict(cfg=dict(type='mmdla.CBAM', reduction=16))]))
