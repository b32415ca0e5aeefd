model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmdla.ResNet', trunk='cifar'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead', in_channels=256, loss=dict(type='CrossEntropyLoss'), topk=(1, 5)))
