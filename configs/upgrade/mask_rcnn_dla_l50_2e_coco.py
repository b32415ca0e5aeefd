_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py', '../_base_/coco_instance.py',
    '../_base_/schedule_upgrade_2e.py', '../_base_/runtime.py'
]

# mmdet's detector, as trained; --start-from names another one
start_from = ('https://download.openmmlab.com/mmdetection/v2.0/mask_rcnn/mask_rcnn_r50_fpn_1x_coco/'
              'mask_rcnn_r50_fpn_1x_coco_20200205-d4b0c5d6.pth')
model = dict(backbone=dict(type='mmdla.DLAResNet', attention_init='zero', init_cfg=None))
