"""Annotations in Pascal VOC's format to COCO's.

    python tools/data/voc_to_coco.py data/bccd/BCCD --out data/bccd

VOC has Annotations/NAME.xml, JPEGImages/NAME.jpg and ImageSets/Main/SPLIT.txt with a NAME a line. Writes
OUT/instances_SPLIT.json for each SPLIT.txt that is asked for; in a config data_prefix is then
dict(img='.../JPEGImages/'). A box is [xmin, ymin, xmax - xmin, ymax - ymin], cut to the image; one
without extent is left out and counted, and a difficult object is a crowd region, which neither format
scores.
"""
import argparse
import json
from pathlib import Path
from typing import List, NamedTuple, Sequence
from xml.etree import ElementTree

from mmdla.engine import cli
from mmdla.errors import UserError, reason
from mmdla.files import check_folder, write_text

CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')


class Box(NamedTuple):
    """An object of an image; corners in pixels."""

    name: str
    corners: List[float]
    difficult: bool


class Image(NamedTuple):
    """One XML file."""

    file_name: str
    width: int
    height: int
    boxes: List[Box]


def read_names(voc: Path, split: str) -> List[str]:
    path = voc / 'ImageSets' / 'Main' / f'{split}.txt'
    if not path.is_file():
        raise UserError(f'{path} does not exist: give the folder that has ImageSets/, and splits that '
                        'have a file there.')
    # in VOC's own files a second column says whether a class is in the image
    names = [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    if not names:
        raise UserError(f'{path} names no image: write a name a line.')
    return names


def read_image(voc: Path, name: str) -> Image:
    path = voc / 'Annotations' / f'{name}.xml'
    try:
        root = ElementTree.parse(path).getroot()
        size = root.find('size')
        boxes = [Box(item.findtext('name').strip(),
                     [float(item.find('bndbox').findtext(key)) for key in CORNERS],
                     (item.findtext('difficult') or '0').strip() == '1') for item in root.iter('object')]
        image = Image((root.findtext('filename') or '').strip(), int(size.findtext('width')),
                      int(size.findtext('height')), boxes)
        if image.width < 1 or image.height < 1:
            raise ValueError(f'an image of {image.width} x {image.height} pixels')
    except (AttributeError, OSError, TypeError, ValueError, ElementTree.ParseError) as error:
        raise UserError(f'{path} is no annotation of Pascal VOC ({reason(error)}): correct it, or take '
                        f'{name} out of the split.') from error
    suffix = Path(image.file_name).suffix or '.jpg'
    for file_name in (f'{name}{suffix}', f'{name}.jpg'):  # its own may be of a copy
        if (voc / 'JPEGImages' / file_name).is_file():
            return image._replace(file_name=file_name)
    raise UserError(f'{voc / "JPEGImages"} has no picture {name}{suffix}: put it '
                    'there, or take it out of the split.')


def convert(images: Sequence[Image], classes: Sequence[str]) -> dict:
    """What a JSON file of COCO holds; ids from 1."""
    content = dict(images=[], annotations=[], categories=[
        dict(id=i, name=name) for i, name in enumerate(classes, 1)])
    for image_id, image in enumerate(images, 1):
        content['images'].append(dict(
            id=image_id, file_name=image.file_name, width=image.width, height=image.height))
        for box in image.boxes:
            limits = 2 * (image.width, image.height)
            xmin, ymin, xmax, ymax = (
                min(max(value, 0), limit) for value, limit in zip(box.corners, limits))
            if xmax <= xmin or ymax <= ymin:
                continue
            content['annotations'].append(dict(
                id=len(content['annotations']) + 1, image_id=image_id,
                category_id=classes.index(box.name) + 1, iscrowd=int(box.difficult),
                bbox=[xmin, ymin, xmax - xmin, ymax - ymin], area=(xmax - xmin) * (ymax - ymin)))
    return content


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('voc', type=Path, metavar='VOC', help='folder with Annotations/ and the others')
    parser.add_argument('--out', type=Path, help='folder to write to (default: VOC)')
    parser.add_argument('--splits', nargs='+', default=['train', 'val', 'test'], metavar='SPLIT',
                        help='(default: train val test)')
    parser.add_argument('--classes', nargs='+', metavar='NAME',
                        help='in the order of their ids (default: all that occur, sorted)')
    args = parser.parse_args()
    splits = {split: [read_image(args.voc, name) for name in read_names(args.voc, split)]
              for split in args.splits}
    found = {box.name for images in splits.values() for image in images for box in image.boxes}
    classes = args.classes or sorted(found)
    if found - {*classes}:
        raise UserError(f'there are objects of {", ".join(sorted(found - {*classes}))} too: add them to '
                        '--classes.')
    out = check_folder(args.out or args.voc)
    for split, images in splits.items():
        content = convert(images, classes)
        left_out = sum(len(image.boxes) for image in images) - len(content['annotations'])
        write_text(out / f'instances_{split}.json', json.dumps(content))
        print(f'{split}: {len(images)} images, {len(content["annotations"])} boxes'
              f'{f", {left_out} without extent left out" if left_out else ""}')
    print(f'classes: {", ".join(classes)}')


if __name__ == '__main__':
    cli.run(main)
