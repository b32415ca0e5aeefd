_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py', '../_base_/coco_instance.py',
    '../_base_/schedule_1x.py', '../_base_/runtime.py'
]

# the published row has r = 4 and BN that lives, over all GPUs; with BN frozen as in the other rows:
# --cfg-options model.backbone.norm_cfg.type=BN model.backbone.norm_eval=True
model = dict(
    backbone=dict(
        type='mmdla.ResNet',
        plugins=[
            dict(cfg=dict(type='ContextBlock', ratio=1 / 4), stages=(False, True, True, True))
        ],
        norm_cfg=dict(type='SyncBN'),
        norm_eval=False,
        init_cfg=dict(checkpoint='torchvision://resnet50')))
