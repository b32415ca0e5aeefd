"""DLA-L on DeiT: an extension of this package, in neither paper."""
_base_ = '../_base_/deit.py'

model = dict(
    backbone=dict(type='mmdla.DLAVisionTransformer', arch='deit-tiny'),
    head=dict(in_channels=192))
