"""Mask R-CNN with ResNeXt-50, by mmdet's recipe of ResNeXt-101, with MRLA-L."""
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py', '../_base_/coco_instance.py',
    'mmdet::_base_/schedules/schedule_1x.py', '../_base_/runtime.py'
]

model = dict(
    backbone=dict(
        type='mmdla.ResNeXt',
        groups=32,
        base_width=4,
        interaction=dict(type='mmdla.MRLALight'),
        attention_init='zero',
        init_cfg=dict(checkpoint='open-mmlab://resnext50_32x4d')))
train_dataloader = dict(batch_size=2)
