"""Places that cannot be written to."""
import torch
from torchvision.models import resnet18

from .case import Case

INFERENCE, MAP = 'inference.py', 'analysis/layer_attention_map.py'
COCO, SHAPES = 'data/make_mini_coco.py', 'data/make_mini_shapes.py'
RELEASED = 'convert/released_to_mmdla.py'


def released(inputs):
    torch.save(resnet18().state_dict(), inputs.SCRATCH / 'released.pth')


def dangling(inputs):
    (inputs.SCRATCH / 'dangling').symlink_to('/nowhere')




CASES = [
    Case('inference to a place that is none', INFERENCE, '{DET} {DET_CKPT} {IMAGE} --out-dir /proc/x',
         '/proc/x/vis cannot be written'),
    Case('inference to a file', INFERENCE, '{DET} {DET_CKPT} {IMAGE} --out-dir {IMAGE}',
         'cannot be written'),
    Case('attention map to a place that is none', MAP, '{DET} {DET_CKPT} {IMAGE} --out-dir /proc/x',
         '/proc/x cannot be written'),
    Case('grid to a place that is none', 'analysis/picture_grid.py', '{SHAPES_ROOT} /proc/g.png',
         'cannot be written'),
    Case('grid of an unknown format', 'analysis/picture_grid.py', '{SHAPES_ROOT} {SCRATCH}/g.xyz',
         'must end in .png or .jpg'),
    Case('curves to a place that is none', 'analysis/plot_curves.py', 'a=nowhere --out /proc/c.png',
         'cannot be written'),
    Case('curves of an unknown format', 'analysis/plot_curves.py', 'a=nowhere --out {SCRATCH}/c.xyz',
         'must end in .png'),
    Case('numbers of curves to a place that is none', 'analysis/plot_curves.py',
         'a=nowhere --out {SCRATCH}/c.png --json /proc/c.json', 'cannot be written'),
    Case('depths to a folder', 'analysis/plot_depth.py',
         'nowhere --out {SCRATCH}/c.png --json {SCRATCH}', 'is a folder'),
    Case('benchmarks to a place that is none', 'analysis/benchmark.py', '--json /proc/b.json',
         'cannot be written'),
    Case('tables to a folder', 'analysis/compare_paper.py', '--markdown {SCRATCH}', 'is a folder'),
    Case('picture of benchmarks of an unknown format', 'analysis/plot_benchmark.py',
         'docs/benchmarks/cpu.json --out {SCRATCH}/b', 'must end in .png'),
    Case('released checkpoint to a place that is none', RELEASED, '{SCRATCH}/released.pth /proc/b.pth',
         'cannot be written', released),
    Case('released checkpoint to a folder', RELEASED, '{SCRATCH}/released.pth {SCRATCH}',
         'is a folder', released),
    Case('released checkpoint to itself', RELEASED, '{SCRATCH}/released.pth {SCRATCH}/released.pth',
         'is the released checkpoint itself', released),
    Case('mini COCO to a place that is none', COCO, '/proc/mm', 'cannot be written'),
    Case('mini COCO to a dangling link', COCO, '{SCRATCH}/dangling', 'exists already', dangling),
    Case('mini shapes to a place that is none', SHAPES, '/proc/sh', 'cannot be written'),
    Case('mini shapes to a place below a file', SHAPES, '{IMAGE}/sh', 'cannot be written'),
]
