"""Trained models that a config's model cannot start from."""
import torch

from .case import Case
from .checkpoints import changed

X, W = '{SCRATCH}/x.pth', '{SCRATCH}/w'
UP = 'configs/upgrade/faster_rcnn_dla_l18_2e_mini.py'
TRAIN = UP + ' --work-dir ' + W + ' --start-from ' + X + ' {FEW}'
TEST = UP + ' --work-dir ' + W + ' --start-from ' + X
HEAD = 'roi_head.bbox_head.fc_cls.'


def plain(change=lambda tensors: None, keep=('state_dict', 'meta')):
    """The detector's checkpoint without its attention, changed."""
    def make(checkpoint):
        tensors = {name: value for name, value in checkpoint['state_dict'].items()
                   if not name.startswith('backbone.attention.')}
        change(tensors)
        checkpoint['meta'].pop('cfg')
        return {key: {**checkpoint, 'state_dict': tensors}[key] for key in keep}
    return changed(make)


def bare_backbone(checkpoint):
    return {name.removeprefix('backbone.'): value for name, value in checkpoint['state_dict'].items()
            if name.startswith('backbone.')}


def fewer_classes(tensors):
    for name, rows in (('weight', 3), ('bias', 3)):
        tensors[HEAD + name] = tensors[HEAD + name][:rows]


def other_names(checkpoint):
    checkpoint['meta']['dataset_meta'] = dict(classes=('ring', 'box', 'triangle', 'star', 'cross'))


def other_style(checkpoint):
    checkpoint['meta']['cfg'] = "model = dict(backbone=dict(type='ResNet', depth=18, style='caffe'))\n"


CASES = [
    Case('start from nothing', 'train.py', UP + ' --work-dir ' + W,
         'the trained model work_dirs/faster_rcnn_resnet18_mini/epoch_6.pth does not exist'),
    Case('test the start from nothing', 'test.py', TEST, 'x.pth does not exist: name the checkpoint'),
    Case('start from and load', 'train.py', TRAIN + ' load_from={DET_CKPT}',
         'both start_from=', plain()),
    Case('start from by two names', 'test.py', UP + ' {DET_CKPT} --start-from ' + X,
         'are given: name one of them', plain()),
    Case('test nothing', 'test.py', '{DET} --work-dir ' + W, 'there is nothing to test'),
    Case('start from a number', 'train.py', UP + ' --work-dir ' + W + ' {FEW} start_from=3',
         'start_from=3 is no path'),
    Case('start from and resume', 'train.py', UP + ' --resume {DET_CKPT} --start-from ' + X,
         'goes on with a run and --start-from begins one', plain()),
    Case('start from a name nearly right', 'train.py', UP + ' --cfg-options start_form=' + X,
         'did you mean start_from?'),
    Case('start attention that is not at zero', 'train.py', TRAIN.replace(UP, '{DET}'),
         'set attention_init=\'zero\' in the backbone', plain()),
    Case('start a base form', 'test.py', TEST.replace(UP, '{DET}') +
         ' --cfg-options model.backbone.variant=base',
         'without the attention of this backbone', plain()),
    Case('start from a backbone', 'train.py', TRAIN,
         'has no tensors backbone.*', changed(bare_backbone)),
    Case('start from a classifier', 'train.py', TRAIN.replace(X, '{CLS_CKPT}'),
         'does not fit the config\'s FasterRCNN, tensors'),
    Case('start without a neck', 'train.py', TRAIN, 'missing (neck.fpn_convs.0.conv.weight)',
         plain(lambda t: t.pop('neck.fpn_convs.0.conv.weight'))),
    Case('start with more', 'train.py', TRAIN, '1 unknown (mask_head.x)',
         plain(lambda t: t.update({'mask_head.x': torch.zeros(1)}))),
    Case('start with a head of another width', 'train.py', TRAIN, 'of another shape (' + HEAD + 'weight',
         plain(lambda t: t.update({HEAD + 'weight': torch.zeros(6, 9)}))),
    Case('start from another stride', 'train.py', TRAIN, 'style=\'caffe\'', changed(other_style)),
    Case('test a head to be made anew', 'test.py', TEST, 'nothing to test before ' + HEAD + 'weight',
         plain(fewer_classes, keep=('state_dict', ))),
    Case('test the start on other classes', 'test.py', TEST, 'such as disk for ring',
         changed(other_names)),
]
