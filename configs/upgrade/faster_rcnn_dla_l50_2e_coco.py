_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py', '../_base_/coco_detection.py',
    '../_base_/schedule_upgrade_2e.py', '../_base_/runtime.py'
]

# mmdet's detector, as trained; --start-from names another one
start_from = ('https://download.openmmlab.com/mmdetection/v2.0/faster_rcnn/faster_rcnn_r50_fpn_1x_coco/'
              'faster_rcnn_r50_fpn_1x_coco_20200130-047c8118.pth')
model = dict(backbone=dict(type='mmdla.DLAResNet', attention_init='zero', init_cfg=None))
