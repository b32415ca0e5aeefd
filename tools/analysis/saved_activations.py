"""Memory that a training step keeps for its backward pass, for several configs side by side.

    python tools/analysis/saved_activations.py configs/cifar/{resnet,mrla_b,dla_b}110_b128_cifar100.py

Counts the storage of every tensor that autograd saves during one forward pass of the backbone in
training mode, each storage once, without parameters and images: the same on every device. Ratios
are to the first config.
"""
import argparse
import logging

from mmdla.engine import cli
from mmdla.engine.memory import saved_bytes, suited
from mmdla.errors import UserError
from mmdla.registry import MODELS

import torch
from mmengine.registry import init_default_scope


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', metavar='CONFIG')
    parser.add_argument('--batch', type=int, default=16, help='images (default: 16)')
    parser.add_argument('--shape', type=int, nargs=2, default=(32, 32), metavar=('H', 'W'),
                        help='pixels (default: 32 32)')
    args = parser.parse_args()
    logging.disable(logging.INFO)
    first = None
    height, width = args.shape
    if min(args.batch, height, width) < 1:
        raise UserError(f'--batch and --shape must be 1 or more; got {args.batch} and {height} {width}.')
    print(f'{"saved MiB":>10} {"ratio":>6}  config ({args.batch} x 3 x {height} x {width})')
    for path in args.configs:
        cfg = cli.read_config(path)
        init_default_scope(cfg.default_scope)
        cfg.model.backbone.init_cfg = None
        backbone = MODELS.build(cfg.model.backbone).train()
        with suited(f'{path} with {args.batch} images of {height} x {width} pixels'):
            size = saved_bytes(backbone, torch.randn(args.batch, 3, height, width))
        first = first or size
        print(f'{size / 2**20:10.1f} {size / first:6.2f}  {path}')


if __name__ == '__main__':
    cli.run(main)
