_base_ = 'cifar_schedule.py'

# 15 epochs: one of warm-up, then the learning rate falls to zero along a cosine
optim_wrapper = dict(optimizer=dict(lr=0.2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=14, begin=1, end=15, convert_to_iter_based=True)
]
train_cfg = dict(max_epochs=15)
default_hooks = dict(logger=dict(interval=23))
