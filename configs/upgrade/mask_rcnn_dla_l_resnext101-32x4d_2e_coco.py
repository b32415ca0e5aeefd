"""mmdet's Mask R-CNN with ResNeXt-101, as trained, with DLA-L."""
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py', '../_base_/coco_instance.py',
    '../_base_/schedule_upgrade_2e.py', '../_base_/runtime.py'
]

# mmdet's detector, as trained; --start-from names another one
start_from = ('https://download.openmmlab.com/mmdetection/v2.0/mask_rcnn/'
              'mask_rcnn_x101_32x4d_fpn_1x_coco/'
              'mask_rcnn_x101_32x4d_fpn_1x_coco_20200205-478d0b67.pth')
model = dict(
    backbone=dict(
        type='mmdla.ResNeXt',
        depth=101,
        groups=32,
        base_width=4,
        interaction=dict(type='mmdla.DLALight'),
        attention_init='zero',
        init_cfg=None))
