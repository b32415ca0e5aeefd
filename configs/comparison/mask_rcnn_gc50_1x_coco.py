_base_ = 'mask_rcnn_resnet50_1x_coco.py'

# the published row has r = 4 and BN that lives, over all GPUs; with BN frozen as in the other rows:
# --cfg-options model.backbone.norm_cfg.type=BN model.backbone.norm_eval=True
model = dict(
    backbone=dict(
        plugins=[
            dict(cfg=dict(type='ContextBlock', ratio=1 / 4), stages=(False, True, True, True))
        ],
        norm_cfg=dict(type='SyncBN'),
        norm_eval=False))
