"""Arguments and inputs of the tools besides train.py and test.py."""
import io
import json

import cv2
import numpy as np
import torch

from .case import Case

GRID, CURVES, DEPTH = (f'analysis/{name}.py' for name in ('picture_grid', 'plot_curves', 'plot_depth'))
METRICS, MAP = 'analysis/compare_metrics.py', 'analysis/layer_attention_map.py'
FLOPS, SAVED = 'analysis/get_flops.py', 'analysis/saved_activations.py'
COCO, SHAPES, PACK = 'data/make_mini_coco.py', 'data/make_mini_shapes.py', 'dev/pack_cifar100.py'
INFERENCE, CIFAR = 'inference.py', 'configs/cifar/dla_l20_b128_cifar100.py'


def text(name, content):
    """A maker of a text file."""

    def make(inputs):
        path = inputs.SCRATCH / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    return make


def log(lines):
    """A maker of a work dir's log."""
    return text('1/vis_data/scalars.json', lines)


def run_with(config):
    """A maker of a finished run's work dir with this config."""

    def make(inputs):
        text('run/a.py', config.format(**vars(inputs)))(inputs)
        text('run/1/vis_data/scalars.json', '{"accuracy/top1": 1.0, "step": 1}')(inputs)

    return make


def picture(height, width):
    """A maker of one."""
    return lambda inputs: cv2.imwrite(
        str(inputs.SCRATCH / 'a.png'), np.zeros((height, width, 3), np.uint8))


def checkpoint(content):
    """A maker of a file that is no checkpoint."""
    return lambda inputs: (inputs.SCRATCH / 'c.pth').write_bytes(content(inputs))


def half(inputs):
    content = inputs.DET_CKPT.read_bytes()
    return content[:len(content) // 2]


def numbers(inputs):
    content = io.BytesIO()
    torch.save([1, 2, 3], content)
    return content.getvalue()


BROKEN = text('a.png', 'x')
CHECKPOINTS = [
    Case(f'{tool} with {what}', tool, f'{config} {{SCRATCH}}/c.pth {{IMAGE}} --out-dir {{SCRATCH}}/out',
         'c.pth ', checkpoint(content))
    for tool, config, what, content in [
        (INFERENCE, '{DET}', 'half a checkpoint', half),
        (INFERENCE, '{DET}', 'an empty checkpoint', lambda inputs: b''),
        (INFERENCE, '{DET}', 'a web page', lambda inputs: b'<!DOCTYPE html>'),
        (INFERENCE, '{DET}', 'a list for a checkpoint', numbers),
        (INFERENCE, '{CLS}', 'half a checkpoint for a classifier', half),
        (MAP, '{DET}', 'half a checkpoint', half),
    ]
]
DEVICES = [
    Case(f'{tool} on {device}', tool, f'{{DET}} {{DET_CKPT}} {{IMAGE}} --out-dir {{SCRATCH}}/out '
         f'--device {device}', f'device {device} cannot be used here')
    for tool in (INFERENCE, MAP) for device in ('cuda:99', 'foo', 'meta')
]

CASES = [
    *CHECKPOINTS, *DEVICES,
    Case('inference of a text', INFERENCE, '{DET} {DET_CKPT} README.md --out-dir {SCRATCH}/out',
         'README.md cannot be read as a picture'),
    Case('inference of a broken picture', INFERENCE,
         '{DET} {DET_CKPT} {IMAGE} {SCRATCH}/a.png --out-dir {SCRATCH}/out',
         'a.png cannot be read as a picture', BROKEN),
    Case('inference of a flat picture', INFERENCE,
         '{DET} {DET_CKPT} {IMAGE} {SCRATCH}/a.png --out-dir {SCRATCH}/out', 'a.png has 4000 x 1 pixels',
         picture(1, 4000)),
    Case('inference of a thin picture', INFERENCE,
         '{DET} {DET_CKPT} {IMAGE} {SCRATCH}/a.png --out-dir {SCRATCH}/out', 'a.png has 1 x 4000 pixels',
         picture(4000, 1)),
    Case('inference of nothing', INFERENCE, '{DET} {DET_CKPT} {SCRATCH}/none --out-dir {SCRATCH}/out',
         'none does not exist'),
    Case('inference of a folder without pictures', INFERENCE,
         '{DET} {DET_CKPT} {SCRATCH} --out-dir {SCRATCH}/out', 'has no picture or video (.bmp, ',
         text('notes.txt', 'x')),
    Case('inference of a pattern without files', INFERENCE,
         "{DET} {DET_CKPT} '{SCRATCH}/*.png' --out-dir {SCRATCH}/out", '*.png matches no file'),
    Case('inference of a broken video', INFERENCE,
         '{DET} {DET_CKPT} {IMAGE} {SCRATCH}/a.mp4 --out-dir {SCRATCH}/out',
         'a.mp4 cannot be read as a video', text('a.mp4', 'x')),
    Case('inference above a score of 7', INFERENCE,
         '{DET} {DET_CKPT} {IMAGE} --score-thr 7', '--score-thr 7 is no score'),
    Case('inference of classes above a score', INFERENCE,
         '{CLS} {CLS_CKPT} {IMAGE} --score-thr .5', '--score-thr is of detectors'),
    Case('attention map of a broken picture', MAP,
         '{DET} {DET_CKPT} {SCRATCH}/a.png --out-dir {SCRATCH}/out', 'a.png cannot be read as a picture',
         BROKEN),
    Case('attention map of a thin picture', MAP,
         '{DET} {DET_CKPT} {SCRATCH}/a.png --out-dir {SCRATCH}/out', 'a.png has 1 x 4000 pixels',
         picture(4000, 1)),
    Case('FLOPs of a huge image', FLOPS, '{CLS} --shape 20000000 20000000', 'cannot be computed'),
    Case('activations of a negative batch', SAVED, f'{CIFAR} --batch -3', 'must be 1 or more; got -3'),
    Case('activations of no pixels', SAVED, f'{CIFAR} --shape 0 0', 'must be 1 or more'),
    Case('activations of a huge batch', SAVED, f'{CIFAR} --batch 1000000000000', 'cannot be computed'),
    Case('activations of one number a channel', SAVED,
         'configs/imagenet/dla_l50_8xb32_in1k.py --batch 1', 'cannot be computed'),
    Case('benchmark of an empty batch', 'analysis/benchmark.py', '--models dla_l50 --batch 0',
         'must be 1 or more', code=2),
    Case('benchmark added to no list of runs', 'analysis/benchmark.py', '--json {SCRATCH}/b.json',
         'no list of runs', text('b.json', '{}')),
    Case('picture of no benchmarks', 'analysis/plot_benchmark.py',
         '{SCRATCH}/b.json --out {SCRATCH}/b.png', 'b.json cannot be read', text('b.json', '[{}]')),
    Case('two metrics of one name', METRICS, 'a={SCRATCH}/g.json a={SCRATCH}/g.json',
         'two runs of the name a', text('g.json', '{"coco/x": 1}')),
    Case('two curves of one name', CURVES, 'a={SCRATCH} a={SCRATCH} --out {SCRATCH}/c.png',
         'two runs of the name a', log('{"loss": 1, "epoch": 1, "step": 1}')),
    Case('curves without epochs', CURVES, 'a={SCRATCH} --out {SCRATCH}/c.png', 'with losses by epoch',
         log('{"loss": 1.0, "iter": 1, "step": 1}\n[1]\n5\n"loss"\n')),
    Case('grid of a broken picture', GRID, '{SCRATCH} {SCRATCH}/g.png',
         'a.png cannot be read as a picture', BROKEN),
    Case('grid of a negative number', GRID, '{SHAPES_ROOT} {SCRATCH}/g.png --number -3',
         'must be 1 or more'),
    Case('grid without columns', GRID, '{SHAPES_ROOT} {SCRATCH}/g.png --columns 0', 'must be 1 or more'),
    Case('depth of a run with a broken config', DEPTH, '{SCRATCH} --out {SCRATCH}/c.png',
         'no run with accuracy/top1', run_with('x = (')),
    Case('depth of a run with an evil config', DEPTH, '{SCRATCH} --out {SCRATCH}/c.png',
         'no run with accuracy/top1', run_with("import os; os._exit(3)")),
    Case('depth of a run with a deep config', DEPTH, '{SCRATCH} --out {SCRATCH}/c.png',
         'no run with accuracy/top1', run_with('x = ' + '-' * 100000 + '1')),
    Case('depth of a run without a model', DEPTH, '{SCRATCH} --out {SCRATCH}/c.png',
         'no run with accuracy/top1', run_with('model = 1')),
    Case('mini COCO with a negative seed', COCO, '{SCRATCH}/mm --seed -1', 'must be 0 or more'),
    Case('mini shapes with a negative seed', SHAPES, '{SCRATCH}/sh --seed -1', 'must be 0 or more'),
    Case('strips with broken names', PACK, '{SCRATCH} {SCRATCH}/pk', 'class_names.json cannot be read',
         text('class_names.json', '["a"')),
    Case('strips with names that are no list', PACK, '{SCRATCH} {SCRATCH}/pk', 'is no list of names',
         text('class_names.json', '{}')),
    Case('strips with one name twice', PACK, '{SCRATCH} {SCRATCH}/pk',
         '100 classes, 1 of them different', text('class_names.json', json.dumps(['0'] * 100))),
    Case('strips packed to a place that is none', PACK, '{SCRATCH} /proc/pk',
         '/proc/pk/cifar-100-python cannot be written',
         text('class_names.json', json.dumps([*map(str, range(100))]))),
]
