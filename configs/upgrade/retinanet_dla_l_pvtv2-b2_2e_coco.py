"""mmdet's RetinaNet with PVTv2-B2, as trained, with DLA-L."""
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py', '../_base_/coco_detection.py',
    '../_base_/schedule_upgrade_2e.py', '../_base_/runtime.py'
]

# mmdet's detector, as trained; --start-from names another one
start_from = ('https://download.openmmlab.com/mmdetection/v2.0/pvt/retinanet_pvtv2-b2_fpn_1x_coco/'
              'retinanet_pvtv2-b2_fpn_1x_coco_20210901_174843-529f0b9a.pth')
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmdla.PyramidVisionTransformerV2',
        embed_dims=64,
        num_layers=[3, 4, 6, 3],
        interaction=dict(type='mmdla.DLALight'),
        attention_init='zero',
        init_cfg=None),
    neck=dict(in_channels=[64, 128, 320, 512]))
train_dataloader = dict(batch_size=2)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=0.00001, weight_decay=0.0001))
auto_scale_lr = dict(base_batch_size=16)
