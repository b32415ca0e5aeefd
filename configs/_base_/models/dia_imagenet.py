_base_ = 'mmpretrain::_base_/models/resnet50.py'

model = dict(backbone=dict(type='mmdla.DIAResNet', context_unit=dict(type='mmdla.DIA', reduction=20)))
