# CIFAR_ROOT=/path in the environment takes the place of data/cifar/
dataset = dict(type='mmdla.CIFAR', data_root='{{$CIFAR_ROOT:data/cifar/}}', num_classes=100)
# batches come whole from memory and are augmented on the model's device: no worker processes
loader = dict(batch_size=128, num_workers=0, collate_fn=dict(type='mmdla.as_it_is'))
data_preprocessor = dict(
    type='mmdla.CIFARDataPreprocessor',
    num_classes=100,
    mean=[129.304, 124.070, 112.434],
    std=[68.170, 65.392, 70.418])

train_dataloader = dict(
    **loader,
    dataset=dict(**dataset, split='train'),
    sampler=dict(type='DefaultSampler', shuffle=True))
# the pipeline is for pictures given to mmpretrain's inferencer
pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=32), dict(type='PackInputs')]
val_dataloader = dict(
    **loader,
    dataset=dict(**dataset, split='test', pipeline=pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
