_base_ = '../_base_/deit.py'

model = dict(
    backbone=dict(type='mmdla.MRLAVisionTransformer', arch='deit-small', variant='base'),
    head=dict(in_channels=384))
