_base_ = 'mmpretrain::_base_/default_runtime.py'

custom_imports = dict(imports=['mmdla'])

model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        num_classes=5, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True),
    backbone=dict(depth=18, stem_channels=32, base_channels=32),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=5,
        in_channels=256,
        loss=dict(type='CrossEntropyLoss'),
        topk=(1, )))

# the set of tools/data/make_mini_shapes.py; MINI_SHAPES_ROOT=/path in the environment takes the
# place of data/mini_shapes/
dataset = dict(type='CustomDataset', data_root='{{$MINI_SHAPES_ROOT:data/mini_shapes/}}')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackInputs')
]
val_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**dataset, data_prefix='train', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=50,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, data_prefix='val', pipeline=val_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, ))
test_evaluator = val_evaluator

epochs = 4
train_cfg = dict(by_epoch=True, max_epochs=epochs)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=4e-3, weight_decay=0.05), clip_grad=dict(max_norm=10))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', T_max=epochs, eta_min=1e-5, convert_to_iter_based=True)
]
auto_scale_lr = dict(base_batch_size=16)
default_hooks = dict(
    logger=dict(interval=25),
    checkpoint=dict(type='mmdla.CheckpointHook', max_keep_ckpts=2),
    finite_loss=dict(type='mmdla.FiniteLossHook'))
randomness = dict(seed=0)
