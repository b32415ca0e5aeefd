"""Detections or classes of images, drawn and as JSON.

    python tools/inference.py configs/mini/faster_rcnn_dla_l18_mini.py CHECKPOINT IMAGE [IMAGE ...]

A front of mmdet's DetInferencer and mmpretrain's ImageClassificationInferencer. Writes pictures to
OUT_DIR/vis and, for a detector, OUT_DIR/preds/*.json; prints the classes of a classifier. The results
of images of one name (a/x.png and b/x.png, or x.png and x.jpg) go to a folder of each image instead:
OUT_DIR/a/x.png/vis and OUT_DIR/b/x.png/vis.
"""
import argparse
import os
from pathlib import Path

import mmdla  # noqa: F401 (registers the backbones, and operators before mmdet asks for them)
from mmdla.engine import cli
from mmdla.engine.fuse import fuse
from mmdla.engine.inferencer import build_inferencer, check_sizes, out_folders, picture_sizes
from mmdla.errors import UserError, printable
from mmdla.files import check_folder

import torch


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


def detector_stem(path: str) -> str:
    """What mmdet calls its results."""
    return Path(path).stem


def classifier_stem(path: str) -> str:
    """What mmpretrain calls its pictures: x for x.png and for x.1.png."""
    return Path(Path(path).stem).stem


def main() -> None:
    args = parse_args()
    cfg = cli.read_config(args.config)
    detector = cfg.get('default_scope') == 'mmdet'
    sizes = picture_sizes(args.images)
    folders = out_folders(args.images, args.out_dir, detector_stem if detector else classifier_stem)
    for folder in folders:
        for kind in ('vis', 'preds') if detector else ('vis', ):
            check_folder(Path(folder) / kind)
    inferencer = build_inferencer(cfg, args.checkpoint, args.device)
    check_sizes(inferencer, sizes)
    if args.fuse:
        fuse(inferencer.model)
    for folder, images in folders.items():
        if detector:
            inferencer(images, out_dir=folder, no_save_pred=False)
            continue
        for path, result in zip(images, inferencer(images, show_dir=os.path.join(folder, 'vis'))):
            name = result.get('pred_class', result['pred_label'])
            print(printable(f'{path}: {name} ({result["pred_score"]:.3f})'))
    print(f'wrote {args.out_dir}')


if __name__ == '__main__':
    cli.run(main)
