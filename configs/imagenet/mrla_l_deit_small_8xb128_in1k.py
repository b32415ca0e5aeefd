_base_ = '../_base_/deit.py'

model = dict(
    backbone=dict(type='mmdla.MRLAVisionTransformer', arch='deit-small', variant='light'),
    head=dict(in_channels=384))
