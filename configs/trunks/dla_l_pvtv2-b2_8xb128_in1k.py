"""PVTv2-B2 with DLA-L by the recipe of DeiT, which PVT follows; mmpretrain has none of its own."""
_base_ = '../_base_/deit.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmdla.PyramidVisionTransformerV2',
        embed_dims=64,
        num_layers=[3, 4, 6, 3],
        out_indices=(3, ),
        interaction=dict(type='mmdla.DLALight')),
    neck=dict(_delete_=True, type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', in_channels=512))
