_base_ = 'mmdet::_base_/schedules/schedule_1x.py'

# the papers train with a total batch of 8 (8 GPUs x 1 image) where mmdet's 1x has 16
optim_wrapper = dict(optimizer=dict(lr=0.01))
auto_scale_lr = dict(base_batch_size=8)
