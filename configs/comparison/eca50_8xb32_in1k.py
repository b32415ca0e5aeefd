_base_ = 'resnet50_8xb32_in1k.py'

# another width in each stage: per_stage=dict(kernel_size=(3, 5, 5, 7)) beside cfg
model = dict(backbone=dict(plugins=[dict(cfg=dict(type='mmdla.ECA'))]))
