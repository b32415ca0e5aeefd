_base_ = 'mmdet::_base_/datasets/coco_detection.py'

# BCCD at half its size, for a CPU; BCCD_ROOT=/path in the environment takes the place of data/bccd/
data_root = '{{$BCCD_ROOT:data/bccd/}}'
classes = ('RBC', 'WBC', 'Platelets')
dataset = dict(
    data_root=data_root,
    data_prefix=dict(img='BCCD/JPEGImages/'),
    metainfo=dict(classes=classes))
evaluator = dict(ann_file=data_root + '/instances_val.json')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(320, 240), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(320, 240), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
]
train_dataloader = dict(
    batch_size=2,
    num_workers=1,
    dataset=dict(
        **dataset,
        ann_file='instances_train.json',
        filter_cfg=dict(min_size=8),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4,
    num_workers=1,
    dataset=dict(**dataset, ann_file='instances_val.json', pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = evaluator
test_evaluator = evaluator
