"""A custom three-class set in COCO format: blood cells (BCCD), BCCD_ROOT or data/bccd."""
_base_ = '../faster_rcnn_dla_l50_r50init_1x_coco.py'

data_root = '{{$BCCD_ROOT:data/bccd/}}'
images = dict(img='BCCD/JPEGImages/')
metainfo = dict(classes=('RBC', 'WBC', 'Platelets'))
train = dict(data_root=data_root, ann_file='instances_train.json', data_prefix=images, metainfo=metainfo)
val = dict(data_root=data_root, ann_file='instances_val.json', data_prefix=images, metainfo=metainfo)

model = dict(roi_head=dict(bbox_head=dict(num_classes=3)))
train_dataloader = dict(dataset=train)
val_dataloader = dict(dataset=val)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + '/instances_val.json')
test_evaluator = val_evaluator
