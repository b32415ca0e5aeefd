"""mmdet's Mask R-CNN with Swin-T, by its recipe, with MRLA-L."""
_base_ = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'

custom_imports = dict(imports=['mmdla'])

# COCO_ROOT=/path/to/coco in the environment takes the place of data/coco/
data_root = '{{$COCO_ROOT:data/coco/}}'
dataset = dict(data_root=data_root)
evaluator = dict(ann_file=data_root + '/annotations/instances_val2017.json')

model = dict(
    backbone=dict(
        type='mmdla.DetSwinTransformer',
        interaction=dict(type='mmdla.MRLALight'),
        attention_init='zero'))
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
val_evaluator = evaluator
test_evaluator = evaluator
default_hooks = dict(
    checkpoint=dict(type='mmdla.CheckpointHook'), finite_loss=dict(type='mmdla.FiniteLossHook'))
