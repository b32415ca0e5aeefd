_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py', '_base_/coco_detection.py',
    '_base_/schedule_1x.py', '_base_/runtime.py'
]

# at step 0 the backbone computes what torchvision's ResNet-50 computes; stage 1, which this recipe
# freezes, stays without layer attention
model = dict(
    backbone=dict(
        type='mmdla.DLAResNet',
        attention_init='zero',
        init_cfg=dict(checkpoint='torchvision://resnet50')))
