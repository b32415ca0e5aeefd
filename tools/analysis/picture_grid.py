"""Put pictures of a folder (and its subfolders) into one.

    python tools/analysis/picture_grid.py work_dirs/mini/drawn work_dirs/mini/detections.png \\
        --headings 'ground truth' detections
"""
import argparse
from pathlib import Path

from mmdla.engine import cli
from mmdla.errors import UserError
from mmdla.files import check_output, read_picture, write_picture

import cv2
import numpy as np

SUFFIXES = ('.png', '.jpg')
HEADING = 28  # height of its line in pixels
FONT = (cv2.FONT_HERSHEY_SIMPLEX, 0.55, 1)  # with its scale and thickness


def grid(pictures: list, columns: int) -> np.ndarray:
    """Same-sized pictures (H, W, 3) row by row; gaps stay white."""
    height, width = np.max([p.shape[:2] for p in pictures], axis=0)
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        y, x = i // columns * height, i % columns * width
        sheet[y:y + picture.shape[0], x:x + picture.shape[1]] = picture
    return sheet


def with_headings(sheet: np.ndarray, headings: list, columns: int) -> np.ndarray:
    """A sheet (H, W, 3) below a line with the headings of the parts of each column, side by side."""
    part = sheet.shape[1] / columns / len(headings)
    line = np.full((HEADING, *sheet.shape[1:]), 255, np.uint8)
    for i, text in enumerate(headings * columns):
        (width, height), _ = cv2.getTextSize(text, *FONT)
        place = int((i + 0.5) * part - width / 2), (HEADING + height) // 2
        cv2.putText(line, text, place, FONT[0], FONT[1], (0, 0, 0), FONT[2], cv2.LINE_AA)
    return np.concatenate([line, sheet])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path)
    parser.add_argument('output', type=Path, help='picture to write')
    parser.add_argument('--number', type=int, default=8, help='of pictures (default: 8)')
    parser.add_argument('--columns', type=int, default=2, help='of the grid (default: 2)')
    parser.add_argument('--headings', nargs='+', metavar='TEXT', default=[],
                        help='of the parts of a picture, from left to right')
    args = parser.parse_args()
    if min(args.number, args.columns) < 1:
        raise UserError('--number and --columns must be 1 or more; got '
                        f'{args.number} and {args.columns}.')
    paths = sorted(p for p in args.folder.rglob('*') if p.suffix in SUFFIXES)
    if not paths:
        raise UserError(f'no .png or .jpg in {args.folder}: name a folder with pictures.')
    check_output(args.output, *SUFFIXES)
    pictures = [read_picture(path) for path in paths[:args.number]]
    sheet = grid(pictures, args.columns)
    if args.headings:
        sheet = with_headings(sheet, args.headings, args.columns)
    write_picture(args.output, sheet)
    print(args.output)


if __name__ == '__main__':
    cli.run(main)
