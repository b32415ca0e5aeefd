"""Pack CIFAR-100 from one strip of images a class to the layout of the official archive.

    python tools/dev/pack_cifar100.py SRC data/cifar

SRC has class_names.json, the classes in label order, and {train,test}/CLASS.webp (or .png): each
the images of one class, 32x32, below each other. Writes DST/cifar-100-python/{train,test,meta}.
"""
import argparse
import json
import pickle
from pathlib import Path

from mmdla.engine import cli
from mmdla.errors import UserError, reason
from mmdla.files import check_new, new_folder

import numpy as np
from PIL import Image


def read_strip(path: Path) -> np.ndarray:
    """(32 N, 32) RGB pixels to (N, 3072), plane after plane as the official files have them."""
    try:
        with Image.open(path) as image:
            strip = np.asarray(image.convert('RGB'))
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f'{path} cannot be read as a picture ({reason(error)}): check the '
                        'source.') from error
    height, width, _ = strip.shape
    if width != 32 or height == 0 or height % 32:
        raise UserError(f'{path} is {width} x {height} pixels: a strip is 32 wide and a multiple of '
                        '32 high.')
    return strip.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2).reshape(-1, 3072)


def strip_of(folder: Path, name: str) -> Path:
    for suffix in ('.webp', '.png'):
        if (folder / f'{name}{suffix}').is_file():
            return folder / f'{name}{suffix}'
    raise UserError(f'{folder} has no strip of the class {name} ({name}.webp or {name}.png).')


def read_names(listing: Path) -> list:
    """The 100 classes in label order."""
    try:
        names = json.loads(listing.read_text())
    except (OSError, RecursionError, ValueError) as error:
        raise UserError(f'{listing} cannot be read ({reason(error)}): give the folder with '
                        'class_names.json, train/ and test/.') from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f'{listing} is no list of names: write ["first class", ...].')
    if len(names) != 100 or len(set(names)) != 100:
        raise UserError(f'{listing} has {len(names)} classes, {len(set(names))} of them different: '
                        'CIFAR-100 has 100.')
    return names


def pack_split(folder: Path, names: list, seed: int) -> dict:
    """All classes of a split, shuffled, under the official keys."""
    strips = [read_strip(strip_of(folder, name)) for name in names]
    images = np.concatenate(strips)
    labels = np.repeat(np.arange(len(names)), [len(strip) for strip in strips])
    order = np.random.default_rng(seed).permutation(len(images))
    return dict(data=images[order], fine_labels=labels[order].tolist())


def pack(source: Path, destination: Path) -> Path:
    """Write the three files, all or none.

    Raises:
        UserError: If the source is incomplete or the destination is there already.
    """
    target = check_new(destination / 'cifar-100-python')
    names = read_names(source / 'class_names.json')
    contents = dict(meta=dict(fine_label_names=names))
    for seed, split in enumerate(('train', 'test')):
        contents[split] = pack_split(source / split, names, seed)
        print(f'{split}: {len(contents[split]["data"])} images')
    with new_folder(target) as folder:
        for name, content in contents.items():
            (folder / name).write_bytes(pickle.dumps(content, protocol=4))
    return target


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', metavar='SRC', type=Path, help='folder of the strips')
    parser.add_argument('destination', metavar='DST', type=Path, help='folder to write to')
    args = parser.parse_args()
    print(f'wrote {pack(args.source, args.destination)}')


if __name__ == '__main__':
    cli.run(main)
