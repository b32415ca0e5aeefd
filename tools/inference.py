"""Detections or classes of images, drawn and as JSON.

    python tools/inference.py configs/mini/faster_rcnn_dla_l18_mini.py CHECKPOINT IMAGE [IMAGE ...]
    python tools/inference.py CONFIG CHECKPOINT FOLDER 'frames/*.png' clip.mp4 --score-thr 0.5

An IMAGE is a picture, a folder with some anywhere below, a pattern or a video. A front of mmdet's
DetInferencer and mmpretrain's ImageClassificationInferencer. Writes pictures to OUT_DIR/vis and, for a
detector, OUT_DIR/preds/*.json; prints the classes of a classifier. The results of images of one name
(a/x.png and b/x.png, or x.png and x.jpg) go to a folder of each image instead: OUT_DIR/a/x.png/vis and
OUT_DIR/b/x.png/vis; those of a video's frames to OUT_DIR/clip.mp4/vis.
"""
import argparse
import os
from pathlib import Path
from typing import List

import mmdla  # noqa: F401 (registers the backbones, and operators before mmdet asks for them)
from mmdla.engine import cli
from mmdla.engine.fuse import fuse
from mmdla.engine.inferencer import (
    build_inferencer,
    check_sizes,
    other_classes,
    out_folders,
    picture_sizes,
    video_sizes,
)
from mmdla.engine.inputs import frames, inputs_of
from mmdla.engine.remarks import without_remarks
from mmdla.errors import UserError, printable
from mmdla.files import check_folder
from mmdla.pretrained import shorten

import torch


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='picture, folder, pattern or video')
    parser.add_argument('--out-dir', default='work_dirs/inference', help='(default: %(default)s)')
    parser.add_argument('--score-thr', type=float, metavar='SCORE',
                        help='least score of an object to draw (default: 0.3); the JSON has them all')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu',
                        help='cpu, cuda or cuda:1, for example (default: %(default)s)')
    parser.add_argument('--fuse', action='store_true',
                        help='fold BatchNorms into their neighbours: faster, with the same results')
    args = parser.parse_args()
    if args.score_thr is not None and not 0 <= args.score_thr <= 1:
        raise UserError(f'--score-thr {args.score_thr:g} is no score: choose one from 0 to 1.')
    return args


def detector_stem(path: str) -> str:
    """What mmdet calls its results."""
    return Path(path).stem


def classifier_stem(path: str) -> str:
    """What mmpretrain calls its pictures: x for x.png and for x.1.png."""
    return Path(Path(path).stem).stem


class Writer:
    """Looks at pictures and writes what it sees.

    Args:
        inferencer: One of the hosts'.
        detector (bool): Whether it is mmdet's.
        score (float): Least score of an object to draw.
    """

    def __init__(self, inferencer, detector: bool, score: float) -> None:
        self.inferencer, self.detector, self.score = inferencer, detector, score
        self.count = 0

    def __call__(self, path: str, folder: str, name: str) -> None:
        """Write the results of the picture ``path``, called ``name`` on the console, to a folder."""
        self.count += 1
        if self.detector:
            self.inferencer([path], out_dir=folder, no_save_pred=False, pred_score_thr=self.score)
            return
        with without_remarks():  # and without a bar for each picture
            result, = self.inferencer([path], show_dir=os.path.join(folder, 'vis'))
        label = result.get('pred_class', result['pred_label'])
        print(printable(f'{name}: {label} ({result["pred_score"]:.3f})'))


def main() -> None:
    args = parse_args()
    cfg = cli.read_config(args.config)
    detector = cfg.get('default_scope') == 'mmdet'
    if args.score_thr is not None and not detector:
        raise UserError('--score-thr is of detectors, which draw objects: leave it out for '
                        'a classifier.')
    inputs = inputs_of(args.images)
    sizes = {**picture_sizes(inputs.pictures), **video_sizes(inputs.videos)}
    folders = out_folders([*inputs.pictures, *inputs.videos], args.out_dir,
                          detector_stem if detector else classifier_stem, inputs.videos)
    for folder in folders:
        for kind in ('vis', 'preds') if detector else ('vis', ):
            check_folder(Path(folder) / kind)
    inferencer = build_inferencer(cfg, args.checkpoint, args.device)
    check_sizes(inferencer, sizes)
    text = other_classes(cfg, args.checkpoint)
    if text:
        cli.note('none', text)
    if args.fuse:
        fuse(inferencer.model)
    writer = Writer(inferencer, detector, 0.3 if args.score_thr is None else args.score_thr)
    for folder, paths in folders.items():
        for path in paths:
            if path not in inputs.videos:
                writer(path, folder, path)
                continue
            for frame in frames(path):
                writer(frame, folder, f'{path}, {Path(frame).stem}')
    print(printable(told(writer.count, list(folders), args.out_dir, detector)))


def told(count: int, folders: List[str], out_dir: str, detector: bool) -> str:
    """Where the results of so many images went."""
    what = 'pictures to {0}/vis and objects to {0}/preds' if detector else 'pictures to {0}/vis'
    others = [folder for folder in folders if folder != out_dir]
    parts = [f'wrote {count} {what.format(out_dir if out_dir in folders else others[0])}']
    others = others if out_dir in folders else others[1:]
    return ' and likewise to '.join([*parts, *([shorten(others)] if others else [])])


if __name__ == '__main__':
    cli.run(main)
