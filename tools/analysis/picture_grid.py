"""Put pictures of a folder (and its subfolders) into one.

    python tools/analysis/picture_grid.py work_dirs/mini/drawn work_dirs/mini/detections.png
"""
import argparse
from pathlib import Path

from mmdla.engine import cli
from mmdla.errors import UserError
from mmdla.files import check_output, read_picture, write_picture

import numpy as np

SUFFIXES = ('.png', '.jpg')


def grid(pictures: list, columns: int) -> np.ndarray:
    """Same-sized pictures (H, W, 3) row by row; gaps stay white."""
    height, width = np.max([p.shape[:2] for p in pictures], axis=0)
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        y, x = i // columns * height, i % columns * width
        sheet[y:y + picture.shape[0], x:x + picture.shape[1]] = picture
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path)
    parser.add_argument('output', type=Path, help='picture to write')
    parser.add_argument('--number', type=int, default=8, help='of pictures (default: 8)')
    parser.add_argument('--columns', type=int, default=2, help='of the grid (default: 2)')
    args = parser.parse_args()
    if min(args.number, args.columns) < 1:
        raise UserError('--number and --columns must be 1 or more; got '
                        f'{args.number} and {args.columns}.')
    paths = sorted(p for p in args.folder.rglob('*') if p.suffix in SUFFIXES)
    if not paths:
        raise UserError(f'no .png or .jpg in {args.folder}: name a folder with pictures.')
    check_output(args.output, *SUFFIXES)
    pictures = [read_picture(path) for path in paths[:args.number]]
    write_picture(args.output, grid(pictures, args.columns))
    print(args.output)


if __name__ == '__main__':
    cli.run(main)
