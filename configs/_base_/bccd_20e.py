_base_ = 'mini_schedule.py'

train_cfg = dict(max_epochs=20, val_interval=2)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', T_max=20, eta_min=1e-5, convert_to_iter_based=True)
]
