_base_ = 'resnet50_8xb32_in1k.py'

model = dict(
    backbone=dict(type='mmdla.RLAResNet', hidden_channels=32, hidden_output=True),
    head=dict(in_channels=2048 + 32))
