_base_ = 'mmpretrain::deit/deit-tiny_4xb256_in1k.py'

custom_imports = dict(imports=['mmdla'])

# IMAGENET_ROOT=/path in the environment takes the place of data/imagenet/
dataset = dict(data_root='{{$IMAGENET_ROOT:data/imagenet/}}')
train_dataloader = dict(batch_size=128, dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
