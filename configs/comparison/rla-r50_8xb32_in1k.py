_base_ = [
    '../_base_/models/resnet_imagenet.py', '../_base_/imagenet.py', '../_base_/imagenet_schedule.py'
]

model = dict(
    backbone=dict(type='mmdla.RLAResNet', depth=50, hidden_channels=32, hidden_output=True),
    head=dict(in_channels=2048 + 32))
