_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py', '_base_/coco_detection.py',
    '_base_/schedule_1x.py', '_base_/runtime.py'
]

model = dict(
    backbone=dict(
        type='mmdla.DLAResNet',
        init_cfg=dict(checkpoint='checkpoints/dla_l50_in1k.pth')))
# mmdet trains RetinaNet with half the learning rate of Faster R-CNN
optim_wrapper = dict(optimizer=dict(lr=0.005))
