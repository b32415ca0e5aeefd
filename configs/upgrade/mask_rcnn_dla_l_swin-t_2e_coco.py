"""mmdet's Mask R-CNN with Swin-T, as trained, with DLA-L."""
_base_ = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'

custom_imports = dict(imports=['mmdla'])

# COCO_ROOT=/path/to/coco in the environment takes the place of data/coco/
data_root = '{{$COCO_ROOT:data/coco/}}'
dataset = dict(data_root=data_root)
evaluator = dict(ann_file=data_root + '/annotations/instances_val2017.json')

# mmdet's detector, as trained; --start-from names another one
start_from = ('https://download.openmmlab.com/mmdetection/v2.0/swin/mask_rcnn_swin-t-p4-w7_fpn_1x_coco/'
              'mask_rcnn_swin-t-p4-w7_fpn_1x_coco_20210902_120937-9d6b7cfa.pth')
model = dict(
    backbone=dict(
        type='mmdla.DetSwinTransformer',
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
# the host has no weight decay on norms; its key 'norm' is shorter, and the longest one that fits counts
optim_wrapper = dict(
    optimizer=dict(lr=0.00001),
    paramwise_cfg=dict(custom_keys={'backbone.attention.': dict(lr_mult=10, decay_mult=0.0)}))
