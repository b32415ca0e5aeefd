"""The backbone starts from the classifier of dla_l18_mini_shapes.py, see tools/quickstart.sh."""
_base_ = 'faster_rcnn_dla_l18_mini.py'

model = dict(
    backbone=dict(
        init_cfg=dict(
            _delete_=True, type='Pretrained', checkpoint='checkpoints/dla_l18_mini_shapes.pth')))
