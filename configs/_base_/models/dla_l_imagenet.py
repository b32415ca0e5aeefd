_base_ = 'mmpretrain::_base_/models/resnet50.py'

# attention_init: as released
model = dict(
    backbone=dict(
        type='mmdla.DLAResNet',
        context_unit=dict(type='mmdla.DSU', reduction=20),
        attention_init='one'))
