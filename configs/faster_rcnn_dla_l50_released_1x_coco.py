_base_ = 'faster_rcnn_dla_l50_1x_coco.py'

# the form that the released code runs and that the paper's Table 3 counts (44.2M in all);
# its start is pretrained by dla_l50_released_8xb32_in1k.py (or dla_l101_...) with
# --cfg-options model.backbone.context_unit.reduction=20
model = dict(
    backbone=dict(
        context_unit=dict(type='DSU', gates='split', reduction=20),
        init_cfg=dict(checkpoint='checkpoints/dla_l50_released_r20_in1k.pth')))
