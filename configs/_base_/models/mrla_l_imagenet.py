_base_ = 'mmpretrain::_base_/models/resnet50.py'

# attention_init: as released
model = dict(backbone=dict(type='mmdla.MRLAResNet', attention_init='one'))
