_base_ = ['mmdet::_base_/schedules/schedule_1x.py', 'mmdet::_base_/default_runtime.py']

custom_imports = dict(imports=['mmdla'])

train_cfg = dict(max_epochs=20, val_interval=2)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=10))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', T_max=20, eta_min=1e-5, convert_to_iter_based=True)
]
auto_scale_lr = dict(base_batch_size=2)
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(type='mmdla.CheckpointHook', max_keep_ckpts=2),
    finite_loss=dict(type='mmdla.FiniteLossHook'),
    visualization=dict(score_thr=0.5))
randomness = dict(seed=0)
