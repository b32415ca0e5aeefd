_base_ = [
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py',
    'mmpretrain::_base_/default_runtime.py'
]

custom_imports = dict(imports=['mmdla'])

# mmpretrain's recipe of deit-tiny and deit-small; drop path and EMA are of deit-base alone
model = dict(
    type='ImageClassifier',
    backbone=dict(img_size=224, patch_size=16),
    neck=None,
    head=dict(
        type='VisionTransformerClsHead',
        num_classes=1000,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')),
    init_cfg=[
        dict(type='TruncNormal', layer='Linear', std=0.02),
        dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0)
    ],
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8),
                             dict(type='CutMix', alpha=1.0)]))
optim_wrapper = dict(
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={
            '.cls_token': dict(decay_mult=0.0),
            '.pos_embed': dict(decay_mult=0.0)
        }),
    clip_grad=dict(max_norm=5.0))

# IMAGENET_ROOT=/path in the environment takes the place of data/imagenet/
dataset = dict(data_root='{{$IMAGENET_ROOT:data/imagenet/}}')
train_dataloader = dict(batch_size=128, dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
default_hooks = dict(
    checkpoint=dict(type='mmdla.CheckpointHook', max_keep_ckpts=1),
    finite_loss=dict(type='mmdla.FiniteLossHook'))
