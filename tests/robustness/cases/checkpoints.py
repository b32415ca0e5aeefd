"""Checkpoints that are broken, diverged or of something else."""
import shutil

import torch

from .case import Case


def changed(change, source='DET_CKPT', name='x.pth'):
    """A checkpoint, changed."""
    def make(inputs):
        checkpoint = torch.load(getattr(inputs, source), weights_only=False)
        checkpoint = change(checkpoint) or checkpoint
        torch.save(checkpoint, inputs.SCRATCH / name)
    return make


def content(data):
    return lambda inputs: (inputs.SCRATCH / 'x.pth').write_bytes(data)


def half(inputs):
    data = inputs.DET_CKPT.read_bytes()
    (inputs.SCRATCH / 'x.pth').write_bytes(data[:len(data) // 2])


def work_dir(*names, last=None):
    """A work dir with copies of the whole checkpoint, and what its last_checkpoint says."""
    def make(inputs):
        folder = inputs.SCRATCH / 'w'
        folder.mkdir()
        for name in names:
            shutil.copy(inputs.CLS_CKPT, folder / name)
        if last is not None:
            (folder / 'last_checkpoint').write_text(last)
    return make


def nan(checkpoint):
    next(iter(checkpoint['state_dict'].values())).fill_(float('nan'))


def other_schedule(checkpoint):
    checkpoint['meta'].update(epoch=0, iter=0)
    checkpoint['meta']['cfg'] = "param_scheduler = [dict(type='MultiStepLR', milestones=[1])]\n"


def nested(depth):
    def change(checkpoint):
        checkpoint['meta']['cfg'] = 'model = ' + 'dict(a=' * depth + '1' + ')' * depth
    return change


X, W = '{SCRATCH}/x.pth', '{SCRATCH}/w'
ENTRIES = dict(
    test=('test.py', '{DET} ' + X + ' --work-dir ' + W),
    inference=('inference.py', '{DET} ' + X + ' {IMAGE} --out-dir ' + W),
    load=('train.py', '{DET} --work-dir ' + W + ' {FEW} load_from=' + X),
    resume=('train.py', '{DET} --work-dir ' + W + ' --resume ' + X + ' {FEW}'),
    start=('train.py', 'configs/mini/faster_rcnn_dla_l18_mini_pretrained.py --work-dir ' + W +
           ' {FEW} model.backbone.init_cfg.checkpoint=' + X),
    begin=('train.py', '{DET} --work-dir ' + W + ' --start-from ' + X + ' {FEW}'),
    extract=('convert/extract_backbone.py', X + ' {SCRATCH}/out.pth'),
    released=('convert/released_to_mmdla.py', X + ' {SCRATCH}/out.pth'),
    map=('analysis/layer_attention_map.py', '{DET} ' + X + ' {IMAGE} --out-dir ' + W),
)


def everywhere(name, words, make, entries=tuple(ENTRIES)):
    return [Case(f'{name}, {entry}', *ENTRIES[entry], words, make) for entry in entries]


CASES = [
    *everywhere('half a file', 'x.pth cannot be read', half),
    *everywhere('empty file', 'x.pth cannot be read', content(b''), ('inference', 'resume')),
    *everywhere('web page', 'x.pth cannot be read', content(b'<!DOCTYPE html>'), ('inference', 'test')),
    *everywhere('list', 'holds no tensors', changed(lambda c: [1, 2]), ('inference', 'test', 'resume')),
    *everywhere('diverged', 'is of a run that diverged', changed(nan)),
    Case('diverged classifier', 'test.py', '{CLS} ' + X + ' --work-dir ' + W, 'a run that diverged',
         changed(nan, 'CLS_CKPT')),
    Case('resume without a run', *ENTRIES['resume'], 'holds weights but no state of a run',
         changed(lambda c: {k: c[k] for k in ('state_dict', )})),
    Case('resume from bare tensors', *ENTRIES['resume'], 'holds weights but no state of a run',
         changed(lambda c: c['state_dict'])),
    Case('resume with another schedule', *ENTRIES['resume'],
         'was trained with the schedules MultiStepLR', changed(other_schedule)),
    Case('resume a folder of broken checkpoints', 'train.py',
         '{CLS} --work-dir ' + W + ' --resume {FEW}', 'has no checkpoint to go on from: ',
         lambda inputs: (work_dir()(inputs), half(inputs),
                         shutil.move(inputs.SCRATCH / 'x.pth', inputs.SCRATCH / 'w' / 'epoch_1.pth'))),
    Case('an earlier run in the work dir', 'train.py', '{CLS} --work-dir ' + W + ' {FEW}',
         'holds an earlier run (epoch_1.pth)', work_dir('epoch_1.pth')),
    Case('deeply nested config', *ENTRIES['extract'], 'does not hold the config',
         changed(nested(3000), 'CLS_CKPT')),
]
