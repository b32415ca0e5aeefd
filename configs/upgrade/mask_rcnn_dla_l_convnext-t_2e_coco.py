"""mmdet's Mask R-CNN with ConvNeXt-T, as trained, with DLA-L."""
_base_ = 'mmdet::convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py'

custom_imports = dict(imports=['mmdla'])

# COCO_ROOT=/path/to/coco in the environment takes the place of data/coco/
data_root = '{{$COCO_ROOT:data/coco/}}'
dataset = dict(data_root=data_root)
evaluator = dict(ann_file=data_root + '/annotations/instances_val2017.json')

# mmdet's detector, as trained; --start-from names another one
start_from = ('https://download.openmmlab.com/mmdetection/v2.0/convnext/'
              'mask_rcnn_convnext-t_p4_w7_fpn_fp16_ms-crop_3x_coco/'
              'mask_rcnn_convnext-t_p4_w7_fpn_fp16_ms-crop_3x_coco_20220426_154953-050731f4.pth')
model = dict(
    backbone=dict(
        type='mmdla.ConvNeXt',
        interaction=dict(type='mmdla.DLALight'),
        attention_init='zero',
        init_cfg=None))
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
val_evaluator = evaluator
test_evaluator = evaluator
default_hooks = dict(
    checkpoint=dict(type='mmdla.CheckpointHook'), finite_loss=dict(type='mmdla.FiniteLossHook'))

train_cfg = dict(max_epochs=2)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=2, by_epoch=True, milestones=[1], gamma=0.1)
]
# in place of the host's constructor, which reads no custom_keys; as there, vectors have no weight decay,
# and what a key names follows the key alone
optim_wrapper = dict(
    constructor='DefaultOptimWrapperConstructor',
    optimizer=dict(lr=0.00001),
    paramwise_cfg=dict(
        _delete_=True,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={'backbone.attention.': dict(lr_mult=10, decay_mult=0.0)}))
