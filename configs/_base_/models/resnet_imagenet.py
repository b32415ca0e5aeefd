_base_ = 'mmpretrain::_base_/models/resnet50.py'

model = dict(backbone=dict(type='mmdla.ResNet'))
