_base_ = 'mmpretrain::_base_/datasets/imagenet_bs32.py'

# IMAGENET_ROOT=/path in the environment takes the place of data/imagenet/
dataset = dict(data_root='{{$IMAGENET_ROOT:data/imagenet/}}')
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
