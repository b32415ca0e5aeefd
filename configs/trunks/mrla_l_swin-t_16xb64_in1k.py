"""mmpretrain's classifier of this trunk, by its recipe, with MRLA-L."""
_base_ = 'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py'

custom_imports = dict(imports=['mmdla'])

# IMAGENET_ROOT=/path in the environment takes the place of data/imagenet/
dataset = dict(data_root='{{$IMAGENET_ROOT:data/imagenet/}}')
model = dict(backbone=dict(type='mmdla.SwinTransformer', interaction=dict(type='mmdla.MRLALight')))
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
default_hooks = dict(
    checkpoint=dict(type='mmdla.CheckpointHook', max_keep_ckpts=1),
    finite_loss=dict(type='mmdla.FiniteLossHook'))
