_base_ = 'mmpretrain::_base_/models/resnet50.py'

# as released: 16 channels a head, a stem of three 3x3 convolutions, gammas of one
model = dict(
    backbone=dict(
        type='mmdla.MRLAResNet',
        variant='base',
        dim_per_head=16,
        deep_stem=True,
        attention_init='one'))
