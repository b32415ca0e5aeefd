_base_ = 'mmpretrain::_base_/default_runtime.py'

custom_imports = dict(imports=['mmdla'])

# both papers: 180 epochs, learning rate / 10 after 100 and 150
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4))
param_scheduler = dict(type='MultiStepLR', by_epoch=True, milestones=[100, 150], gamma=0.1)
train_cfg = dict(by_epoch=True, max_epochs=180, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=128)
default_hooks = dict(
    checkpoint=dict(type='mmdla.CheckpointHook', interval=10, max_keep_ckpts=1),
    finite_loss=dict(type='mmdla.FiniteLossHook'),
    visualization=dict(rescale_factor=8))
# each process draws its own crops and flips
randomness = dict(diff_rank_seed=True)
