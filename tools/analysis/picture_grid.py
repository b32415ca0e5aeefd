"""Put pictures of a folder (and its subfolders) into one.

    python tools/analysis/picture_grid.py work_dirs/mini/drawn work_dirs/mini/detections.png
"""
import argparse
import sys
from pathlib import Path

import cv2
import numpy as np


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
    paths = sorted(p for p in args.folder.rglob('*') if p.suffix in ('.png', '.jpg'))
    pictures = [cv2.imread(str(p)) for p in paths[:args.number]]
    if not pictures:
        sys.exit(f'error: no .png or .jpg in {args.folder}.')
    args.output.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(args.output), grid(pictures, args.columns))
    print(args.output)


if __name__ == '__main__':
    main()
