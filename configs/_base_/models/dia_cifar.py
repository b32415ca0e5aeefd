model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmdla.DIAResNet',
        trunk='cifar',
        context_unit=dict(type='mmdla.DIA', reduction=4)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead', in_channels=256, loss=dict(type='CrossEntropyLoss'), topk=(1, 5)))
