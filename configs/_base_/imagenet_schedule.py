_base_ = [
    'mmpretrain::_base_/schedules/imagenet_bs256.py', 'mmpretrain::_base_/default_runtime.py'
]

custom_imports = dict(imports=['mmdla'])

# both papers: 3 epochs of warm-up, then learning rate / 10 after 30, 60 and 90
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=3, convert_to_iter_based=True),
    dict(type='MultiStepLR', milestones=[30, 60, 90], gamma=0.1)
]
default_hooks = dict(
    checkpoint=dict(type='mmdla.CheckpointHook', max_keep_ckpts=1),
    finite_loss=dict(type='mmdla.FiniteLossHook'))
