_base_ = '../_base_/deit.py'

model = dict(
    backbone=dict(
        type='mmdla.MRLAVisionTransformer', arch='deit-base', variant='base', drop_path_rate=0.1),
    head=dict(in_channels=768))
custom_hooks = [dict(type='EMAHook', momentum=4e-5, priority='ABOVE_NORMAL')]
