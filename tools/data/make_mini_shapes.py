"""Generate a small classification set: one shape in each image of 64x64 pixels.

The classes and colours are those of make_mini_coco.py, the layout is that of mmpretrain's
CustomDataset: ROOT/{train,val}/CLASS/000000.png. The same seed gives the same files, byte for byte.

    python tools/data/make_mini_shapes.py data/mini_shapes
"""
import argparse
from pathlib import Path

from mmdla.engine import cli
from mmdla.files import encode_picture, new_folder

import numpy as np
from make_mini_coco import (
    CLASSES,
    background,
    check_numbers,
    contrasting_color,
    noisy,
    paint,
    random_shape,
)

SIZE = (64, 64)


def make_image(rng: np.random.Generator, kind: str) -> np.ndarray:
    """An RGB image of one shape, (64, 64, 3)."""
    image = background(rng, SIZE)
    shape = random_shape(rng, kind, SIZE, radii=(12, 28), margin=.35)
    x, y = (int(v) for v in shape.representative_point().coords[0])
    paint(image, shape, contrasting_color(rng, image[y, x]))
    return noisy(rng, image)


def make_split(folder: Path, count: int, seed: int) -> None:
    """Write ``count`` images, the classes in turn."""
    rng = np.random.default_rng(seed)
    for kind in CLASSES:
        (folder / kind).mkdir(parents=True)
    for index in range(count):
        kind = CLASSES[index % len(CLASSES)]
        path = folder / kind / f'{index:06d}.png'
        path.write_bytes(encode_picture(path, make_image(rng, kind)[..., ::-1]))


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('root', type=Path, help='folder to make, for example data/mini_shapes')
    parser.add_argument('--train', type=int, default=2000, help='training images (default: 2000)')
    parser.add_argument('--val', type=int, default=250, help='validation images (default: 250)')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    check_numbers(args, least=len(CLASSES))
    return args


def main():
    args = parse_args()
    with new_folder(args.root) as folder:
        for offset, (split, count) in enumerate((('train', args.train), ('val', args.val))):
            make_split(folder / split, count, args.seed * 2 + offset)
            print(f'{split}: {count} images')
    print(f'wrote {args.root} (classes: {", ".join(CLASSES)})')


if __name__ == '__main__':
    cli.run(main)
