_base_ = ['mmdet::_base_/schedules/schedule_1x.py', 'mmdet::_base_/default_runtime.py']

custom_imports = dict(imports=['mmdla'])

# what is trained already moves at a tenth of mini_schedule.py's rate, layer attention at the full one
epochs = 2
train_cfg = dict(max_epochs=epochs)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(custom_keys={'backbone.attention.': dict(lr_mult=10)}),
    clip_grad=dict(max_norm=10))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', T_max=epochs, eta_min=1e-6, convert_to_iter_based=True)
]
auto_scale_lr = dict(base_batch_size=2)
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(type='mmdla.CheckpointHook', max_keep_ckpts=2),
    finite_loss=dict(type='mmdla.FiniteLossHook'),
    visualization=dict(score_thr=0.5))
randomness = dict(seed=0)
