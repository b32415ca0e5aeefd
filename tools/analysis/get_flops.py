"""Parameters and FLOPs (one multiplication with its addition) of any of our configs.

    python tools/analysis/get_flops.py configs/imagenet/dla_l50_8xb32_in1k.py
    python tools/analysis/get_flops.py configs/faster_rcnn_dla_l50_1x_coco.py --shape 800 1280

mmengine's analysis of one image in test mode, with what layer attention adds counted too, see
mmdla/engine/complexity.py; a detector's second stage sees 1000 proposals. The image has the size that
the config's test pipeline gives one in landscape format, 800 x 1344 for COCO; the tables of configs/ are
of the papers' 800 x 1280.
"""
import argparse

from mmdla.engine import cli
from mmdla.engine.complexity import complexity, usual_shape
from mmdla.engine.image_shape import shape_in_tests
from mmdla.engine.memory import suited
from mmdla.errors import UserError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    cli.add_options(parser)
    parser.add_argument('--shape', type=int, nargs=2, metavar=('H', 'W'),
                        help='pixels (default: those of the test pipeline, padded; where it has no '
                        'size, 224 224, for CIFAR 32 32, for detectors 800 1280)')
    args = parser.parse_args()
    cfg = cli.read_config(args.config, args.cfg_options)
    shape = tuple(args.shape or shape_in_tests(cfg) or usual_shape(cfg))
    if min(shape) < 1:
        raise UserError(f'--shape must be positive; got {shape[0]} {shape[1]}.')
    with suited(f'{args.config} with an image of {shape[0]} x {shape[1]} pixels'):
        counted = complexity(cfg, shape)
    print(f'config      {args.config}\n'
          f'image       3 x {shape[0]} x {shape[1]}\n'
          f'parameters  {counted.parameters:,} ({counted.parameters / 1e6:.2f} M)\n'
          f'trained     {counted.trained:,} ({counted.trained / 1e6:.2f} M)\n'
          f'FLOPs       {counted.flops:,} ({counted.flops / 1e9:.3f} G)')


if __name__ == '__main__':
    cli.run(main)
