_base_ = 'mmpretrain::_base_/default_runtime.py'

custom_imports = dict(imports=['mmdla'])

# one epoch of warm-up, then the learning rate falls to zero along a cosine
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.2, momentum=0.9, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=14, begin=1, end=15, convert_to_iter_based=True)
]
train_cfg = dict(by_epoch=True, max_epochs=15, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=128)
default_hooks = dict(
    checkpoint=dict(type='mmdla.CheckpointHook', interval=1, max_keep_ckpts=1),
    logger=dict(interval=23),
    finite_loss=dict(type='mmdla.FiniteLossHook'),
    visualization=dict(rescale_factor=8))
# each process draws its own crops and flips
randomness = dict(diff_rank_seed=True)
