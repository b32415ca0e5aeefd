_base_ = 'faster_rcnn_dla_l50_1x_coco.py'

# the form that the released code runs and that the paper's Table 3 counts (44.2M in all)
model = dict(
    backbone=dict(
        context_unit=dict(type='DSU', gates='split', reduction=20),
        init_cfg=dict(checkpoint='checkpoints/dla_l50_released_in1k.pth')))
