_base_ = 'mmdet::_base_/schedules/schedule_1x.py'

# what is trained already moves at a tenth of the 1x rate, layer attention at the full one
train_cfg = dict(max_epochs=2)
optim_wrapper = dict(
    optimizer=dict(lr=0.001),
    paramwise_cfg=dict(custom_keys={'backbone.attention.': dict(lr_mult=10)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=2, by_epoch=True, milestones=[1], gamma=0.1)
]
auto_scale_lr = dict(base_batch_size=8)
