"""Detections or classes of images, drawn and as JSON.

    python tools/inference.py configs/mini/faster_rcnn_dla_l18_mini.py CHECKPOINT IMAGE [IMAGE ...]

A front of mmdet's DetInferencer and mmpretrain's ImageClassificationInferencer. Writes pictures to
OUT_DIR/vis and, for a detector, OUT_DIR/preds/*.json; prints the classes of a classifier.
"""
import argparse
import os

import mmdla  # noqa: F401 (registers the backbones, and operators before mmdet asks for them)
from mmdla.engine import cli
from mmdla.engine.fuse import fuse
from mmdla.engine.inferencer import build_inferencer
from mmdla.errors import UserError

import torch
from mmengine.config import Config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('images', nargs='+', metavar='IMAGE')
    parser.add_argument('--out-dir', default='work_dirs/inference', help='(default: %(default)s)')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--fuse', action='store_true',
                        help='fold BatchNorms into their neighbours: faster, with the same results')
    args = parser.parse_args()
    for path in args.images:
        if not os.path.isfile(path):
            raise UserError(f'{path} does not exist: check the path.')
    return args


def main() -> None:
    args = parse_args()
    inferencer = build_inferencer(args.config, args.checkpoint, args.device)
    if args.fuse:
        fuse(inferencer.model)
    if Config.fromfile(args.config).default_scope == 'mmdet':
        inferencer(args.images, out_dir=args.out_dir, no_save_pred=False)
    else:
        show_dir = os.path.join(args.out_dir, 'vis')
        os.makedirs(show_dir, exist_ok=True)
        for path, result in zip(args.images, inferencer(args.images, show_dir=show_dir)):
            name = result.get('pred_class', result['pred_label'])
            print(f'{path}: {name} ({result["pred_score"]:.3f})')
    print(f'wrote {args.out_dir}')


if __name__ == '__main__':
    cli.run(main)
