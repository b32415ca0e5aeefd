"""Mask R-CNN with PVTv2-B2, by mmdet's recipe of its RetinaNet, with DLA-L."""
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py', '../_base_/coco_instance.py',
    'mmdet::_base_/schedules/schedule_1x.py', '../_base_/runtime.py'
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmdla.PyramidVisionTransformerV2',
        embed_dims=64,
        num_layers=[3, 4, 6, 3],
        interaction=dict(type='mmdla.DLALight'),
        attention_init='zero',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/whai362/PVT/releases/download/v2/pvt_v2_b2.pth')),
    neck=dict(in_channels=[64, 128, 320, 512]))
train_dataloader = dict(batch_size=2)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=0.0001, weight_decay=0.0001))
