"""Generate a small detection set in COCO format: coloured shapes on noisy backgrounds.

Five classes (disk, box, triangle, star, cross) of any colour, more or less upright, small, medium
and large, overlapping each other. Each annotation's polygons are exact: the visible part of the
shape. Some images hold a crowd region (many dots, one RLE, iscrowd=1), some no object.
The same seed gives the same files, byte for byte.

    python tools/data/make_mini_coco.py data/mini_coco
"""
import argparse
import json
import math
from pathlib import Path

from mmdla.engine import cli
from mmdla.errors import UserError
from mmdla.files import encode_picture, new_folder

import cv2
import numpy as np
from pycocotools import mask as coco_mask
from shapely.geometry import MultiPolygon, Polygon, box

CLASSES = ('disk', 'box', 'triangle', 'star', 'cross')
LICENSE = dict(id=1, name='CC0 1.0', url='https://creativecommons.org/publicdomain/zero/1.0/')
SUBPIXEL_BITS = 4


def outline(kind: str) -> np.ndarray:
    """Corners of a shape of radius about 1 around the origin, (N, 2)."""
    if kind == 'cross':
        corners = [(1, .33), (.33, .33), (.33, 1)]
        turns = [np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
                 for a in np.arange(4) * math.pi / 2]
        return np.concatenate([np.array(corners) @ turn.T for turn in turns])
    count, radii = dict(
        disk=(32, [1]), box=(4, [1.1]), triangle=(3, [1.2]), star=(10, [1.2, .5]))[kind]
    # upright: a corner of the triangle and the star on top, the box on a side
    angles = np.arange(count) * 2 * math.pi / count + (math.pi / 4 if kind == 'box' else -math.pi / 2)
    radius = np.resize(radii, count)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], 1)


def random_shape(rng: np.random.Generator, kind: str, size: tuple, radii: tuple = (11, 70),
                 margin: float = .05) -> Polygon:
    """A shape at a random place of the image, inside it, at a quarter pixel's precision.

    ``radii`` are the smallest and largest in pixels; the centre keeps off the border by
    ``margin``, a part of the image's size.
    """
    width, height = size
    radius = math.exp(rng.uniform(*np.log(radii)))
    angle, squeeze = rng.normal(0, .15), rng.uniform(.75, 1)
    points = outline(kind) * radius * (1, squeeze)
    points = points @ np.array([[math.cos(angle), -math.sin(angle)],
                                [math.sin(angle), math.cos(angle)]])
    low, high = margin, 1 - margin
    center = rng.uniform((low * width, low * height), (high * width, high * height))
    points = np.round((points + center) * 4) / 4
    return Polygon(points).intersection(box(0, 0, width, height))


def solid_parts(region) -> list:
    """A region as polygons without holes; one with a hole is cut in two through it."""
    if isinstance(region, Polygon):
        if not region.interiors:
            return [region] if region.area > 0 else []
        x0, y0, x1, y1 = region.bounds
        x = region.interiors[0].centroid.x
        return [part for half in (box(x0, y0, x, y1), box(x, y0, x1, y1))
                for part in solid_parts(region.intersection(half))]
    return [part for child in getattr(region, 'geoms', []) for part in solid_parts(child)]


def paint(image: np.ndarray, shape, color: np.ndarray) -> None:
    """Fill polygons on an RGB image with smooth edges."""
    parts = [shape] if isinstance(shape, Polygon) else shape.geoms
    for part in parts:
        # cv2 puts pixel centres on whole numbers, COCO's polygons put them at one half
        points = np.array(part.exterior.coords) - .5
        fixed = np.round(points * 2**SUBPIXEL_BITS).astype(np.int32)
        cv2.fillPoly(image, [fixed], color.tolist(), cv2.LINE_AA, SUBPIXEL_BITS)


def background(rng: np.random.Generator, size: tuple) -> np.ndarray:
    """A smooth random gradient."""
    width, height = size
    coarse = rng.uniform(95, 160, (3, 4, 3)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255)


def noisy(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """The image in bytes, with noise on each pixel."""
    return (image + rng.normal(0, 5, image.shape)).clip(0, 255).astype(np.uint8)


def contrasting_color(rng: np.random.Generator, under: np.ndarray) -> np.ndarray:
    """A colour that stands out from what lies under the shape."""
    while True:
        color = rng.integers(0, 256, 3)
        if np.abs(color - under).max() > 90:
            return color


def draw_crowd(rng: np.random.Generator, image: np.ndarray, size: tuple) -> np.ndarray:
    """Scatter touching dots over a part of the image; their mask."""
    width, height = size
    center = rng.uniform((50, 50), (width - 50, height - 50))
    color = rng.integers(0, 256, 3)
    mask = np.zeros((height, width), np.uint8)
    for place in center + rng.normal(0, 18, (25, 2)):
        dot = Polygon(outline('disk') * 5 + place).intersection(box(0, 0, width, height))
        if not dot.is_empty:
            paint(image, dot, color)
            cv2.fillPoly(mask, [np.round(np.array(dot.exterior.coords) - .5).astype(np.int32)], 1)
    return mask


def uncompressed_rle(mask: np.ndarray) -> dict:
    """COCO's run lengths, column by column, starting with zeros."""
    flat = mask.flatten(order='F')
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    return dict(counts=([0] if flat[0] else []) + runs, size=list(mask.shape))


def make_image(rng: np.random.Generator, size: tuple, objects: int, crowd: bool) -> tuple:
    """One RGB image and its annotations, without ids."""
    image = background(rng, size)
    crowd_mask = draw_crowd(rng, image, size) if crowd else np.zeros(image.shape[:2], np.uint8)
    drawn = []
    for _ in range(objects):
        label = int(rng.integers(len(CLASSES)))
        shape = random_shape(rng, CLASSES[label], size)
        hides = [shape.intersection(visible).area / whole.area for _, whole, visible in drawn]
        if shape.area < 60 or max(hides, default=0) > .4:
            continue
        x, y = (int(v) for v in shape.representative_point().coords[0])
        paint(image, shape, contrasting_color(rng, image[y, x]))
        drawn.append([label, shape, shape])
        cv2.fillPoly(crowd_mask, [np.round(np.array(shape.exterior.coords) - .5).astype(int)], 0)
        for below in drawn[:-1]:
            below[2] = below[2].difference(shape)
    annotations = []
    if crowd_mask.any():
        rle = uncompressed_rle(crowd_mask)
        compressed = coco_mask.frPyObjects(rle, *rle['size'])
        annotations.append(
            dict(category_id=CLASSES.index('disk') + 1, iscrowd=1, segmentation=rle,
                 area=int(crowd_mask.sum()), bbox=coco_mask.toBbox(compressed).tolist()))
    for label, whole, visible in drawn:
        parts = [part for part in solid_parts(visible) if part.area >= 4]
        if sum(part.area for part in parts) < max(40, .25 * whole.area):
            continue
        x0, y0, x1, y1 = MultiPolygon(parts).bounds
        annotations.append(
            dict(category_id=label + 1, iscrowd=0,
                 segmentation=[
                     np.round(np.array(part.exterior.coords)[:-1], 2).ravel().tolist()
                     for part in parts],
                 area=round(sum(part.area for part in parts), 2),
                 bbox=np.round([x0, y0, x1 - x0, y1 - y0], 2).tolist()))
    return noisy(rng, image), annotations


def make_split(root: Path, split: str, count: int, size: tuple, seed: int) -> dict:
    """Write the images and the annotation file of one split; its COCO dict."""
    rng = np.random.default_rng(seed)
    folder = root / f'{split}2017'
    folder.mkdir(parents=True)
    images, annotations = [], []
    for image_id in range(1, count + 1):
        objects = 0 if image_id % 20 == 10 else int(rng.integers(5, 12))
        image, boxes = make_image(rng, size, objects, crowd=image_id % 20 == 5)
        name = f'{image_id:012d}.png'
        (folder / name).write_bytes(encode_picture(name, image[..., ::-1]))
        images.append(
            dict(id=image_id, file_name=name, width=size[0], height=size[1], license=1))
        for box_ in boxes:
            annotations.append(dict(id=len(annotations) + 1, image_id=image_id, **box_))
    content = dict(
        info=dict(description='mmdla mini COCO: generated shapes', version='1', seed=seed),
        licenses=[LICENSE],
        images=images,
        annotations=annotations,
        categories=[dict(id=i + 1, name=name, supercategory='shape')
                    for i, name in enumerate(CLASSES)])
    path = root / 'annotations' / f'instances_{split}2017.json'
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return content


def check_numbers(args: argparse.Namespace, least: int) -> None:
    """Refuse sets of fewer images and seeds that numpy does not take."""
    if min(args.train, args.val) < least:
        raise UserError(f'--train and --val must be at least {least}; got {args.train} and {args.val}.')
    if args.seed < 0:
        raise UserError(f'--seed must be 0 or more; got {args.seed}.')


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('root', type=Path, help='folder to make, for example data/mini_coco')
    parser.add_argument('--train', type=int, default=240, help='training images (default: 240)')
    parser.add_argument('--val', type=int, default=60, help='validation images (default: 60)')
    parser.add_argument('--size', type=int, nargs=2, default=(320, 240), metavar=('W', 'H'),
                        help='of the images in pixels (default: 320 240)')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    check_numbers(args, least=1)
    if min(args.size) < 120:
        raise UserError('--size must be at least 120 120, since shapes are up to 84 pixels in radius.')
    return args


def main():
    args = parse_args()
    with new_folder(args.root) as folder:
        for offset, (split, count) in enumerate((('train', args.train), ('val', args.val))):
            content = make_split(
                folder, split, count, tuple(args.size), args.seed * 2 + offset)
            print(f'{split}: {count} images, {len(content["annotations"])} objects')
    print(f'wrote {args.root} (classes: {", ".join(CLASSES)})')


if __name__ == '__main__':
    cli.run(main)
