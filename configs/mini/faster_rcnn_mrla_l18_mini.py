"""MRLA-L-18 Faster R-CNN for the set of tools/data/make_mini_coco.py, small enough for a CPU."""
_base_ = '../faster_rcnn_mrla_l50_1x_coco.py'

classes = ('disk', 'box', 'triangle', 'star', 'cross')
# half the width, from scratch with living BN (in the neck and the head too); anchors from 16
# pixels up; RoIs from 28 pixels up go to coarser levels; few proposals for the CPU's RoIAlign
model = dict(
    backbone=dict(
        depth=18,
        stem_channels=32,
        base_channels=32,
        frozen_stages=-1,
        norm_eval=False,
        init_cfg=None),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=64, norm_cfg=dict(type='BN')),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(
            out_channels=64, finest_scale=28, roi_layer=dict(sampling_ratio=1)),
        bbox_head=dict(
            type='ConvFCBBoxHead',
            num_shared_convs=2,
            num_shared_fcs=1,
            conv_out_channels=64,
            norm_cfg=dict(type='BN'),
            in_channels=64,
            fc_out_channels=256,
            num_classes=5)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=300), rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(rpn=dict(nms_pre=400, max_per_img=200)))

data_root = '{{$MINI_ROOT:data/mini_coco/}}'
dataset = dict(data_root=data_root, metainfo=dict(classes=classes))
evaluator = dict(ann_file=data_root + '/annotations/instances_val2017.json')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
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
    dataset=dict(**dataset, filter_cfg=dict(min_size=8), pipeline=train_pipeline))
val_dataloader = dict(batch_size=4, num_workers=1, dataset=dict(**dataset, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = evaluator
test_evaluator = evaluator

epochs = 6
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=10))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', T_max=epochs, eta_min=1e-5, convert_to_iter_based=True)
]
auto_scale_lr = dict(base_batch_size=2)
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(max_keep_ckpts=2),
    visualization=dict(score_thr=0.5))
randomness = dict(seed=0)
