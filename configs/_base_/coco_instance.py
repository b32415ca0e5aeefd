_base_ = 'mmdet::_base_/datasets/coco_instance.py'

# COCO_ROOT=/path/to/coco in the environment takes the place of data/coco/
data_root = '{{$COCO_ROOT:data/coco/}}'
dataset = dict(data_root=data_root)
evaluator = dict(ann_file=data_root + '/annotations/instances_val2017.json')

train_dataloader = dict(batch_size=1, dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
val_evaluator = evaluator
test_evaluator = evaluator
