# attention_init: as released
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmdla.MRLAResNet',
        trunk='cifar',
        attention_drop_path=0.2,
        attention_init='one'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead', in_channels=256, loss=dict(type='CrossEntropyLoss'), topk=(1, 5)))
