"""A custom three-class set in COCO format: blood cells (BCCD), BCCD_ROOT or data/bccd."""
_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py', '../_base_/coco_detection.py',
    '../_base_/schedule_1x.py', '../_base_/runtime.py'
]

data_root = '{{$BCCD_ROOT:data/bccd/}}'
images = dict(img='BCCD/JPEGImages/')
metainfo = dict(classes=('RBC', 'WBC', 'Platelets'))
train = dict(data_root=data_root, ann_file='instances_train.json', data_prefix=images, metainfo=metainfo)
val = dict(data_root=data_root, ann_file='instances_val.json', data_prefix=images, metainfo=metainfo)

model = dict(
    backbone=dict(
        type='mmdla.DLAResNet',
        attention_init='zero',
        init_cfg=dict(checkpoint='torchvision://resnet50')),
    roi_head=dict(bbox_head=dict(num_classes=3)))
train_dataloader = dict(dataset=train)
val_dataloader = dict(dataset=val)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + '/instances_val.json')
test_evaluator = val_evaluator
