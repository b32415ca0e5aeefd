_base_ = 'cifar100.py'

dataset = dict(num_classes=10)
data_preprocessor = dict(
    num_classes=10, mean=[125.307, 122.961, 113.858], std=[62.993, 62.089, 66.705])
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
