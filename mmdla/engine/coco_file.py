"""What can be read of a COCO annotation file in a second: the file of COCO's training set has 450 MB."""
import json
import mmap
import re
from collections import Counter
from typing import List, Optional

from mmdla.errors import UserError

NOT_FINITE = (rb'NaN(?<=[\[:,\s]NaN)(?=\s*[,\]}])', rb'Infinity(?<=[\[:,\s-]Infinity)(?=\s*[,\]}])')
NO_MASK = rb'"segmentation"\s*:\s*(?:null|\[\s*\])'


def mmap_file(path: str) -> mmap.mmap:
    with open(path, 'rb') as file:
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise unreadable(path) from error


def unreadable(path: str) -> UserError:
    return UserError(f'{path} is no whole COCO annotation file with categories and images: write it '
                     'again or name another one.')


def first_match(path: str, *patterns: bytes) -> Optional[str]:
    """The first text in a file that a regular expression matches."""
    with mmap_file(path) as content:
        for pattern in patterns:
            match = re.search(pattern, content)
            if match:
                return match[0].decode(errors='replace')
    return None


def section(ann_file: str, key: str) -> List[dict]:
    """A list of an annotation file, such as its categories, without parsing the rest of it."""
    with mmap_file(ann_file) as content:
        try:
            if content[-20:].rstrip()[-1:] != b'}':
                raise ValueError('cut off')
            start = re.search(rb'"%s"\s*:\s*(?=\[)' % key.encode(), content).end()
            size = 2**16
            while True:
                try:
                    text = content[start:start + size].decode(errors='ignore')
                    return json.JSONDecoder().raw_decode(text)[0]
                except json.JSONDecodeError:
                    if start + size >= len(content):
                        raise
                    size *= 8
        except (ValueError, AttributeError) as error:
            raise unreadable(ann_file) from error


def columns(ann_file: str, key: str, *fields: str) -> List[tuple]:
    """Fields of all entries of an annotation file's list, such as the names of its categories."""
    try:
        entries = section(ann_file, key)
        return [tuple(entry[field] for entry in entries) for field in fields]
    except (KeyError, TypeError) as error:
        raise unreadable(ann_file) from error


def coco_categories(ann_file: str) -> List[str]:
    """Category names of a COCO annotation file."""
    return list(columns(ann_file, 'categories', 'name')[0])


def image_names(ann_file: str) -> List[str]:
    """File names of a COCO annotation file's images, each of them there once, as is each id.

    Raises:
        UserError: If not.
    """
    _, names = unique_columns(ann_file, 'images', 'id', 'file_name')
    if not all(isinstance(name, str) for name in names):
        raise unreadable(ann_file)
    return list(names)


def first_image(ann_file: str) -> str:
    """File name of the first image of a COCO annotation file."""
    names = image_names(ann_file)
    if not names:
        raise unreadable(ann_file)
    return names[0]


def has_annotations(ann_file: str) -> bool:
    return first_match(ann_file, rb'"annotations"\s*:\s*\[\s*\{') is not None


def check_finite(ann_file: str) -> None:
    number = first_match(ann_file, *NOT_FINITE)
    if number:
        raise UserError(f'{ann_file} has the number {number}, with which no box can be drawn: mend or '
                        'remove its annotation (--check-data lists them all).')


def check_masks(ann_file: str) -> None:
    """Every annotation has a mask, as far as can be seen in a second."""
    empty = first_match(ann_file, NO_MASK)
    if empty or not first_match(ann_file, rb'"segmentation"\s*:'):
        raise UserError(f'{ann_file} has annotations without a mask ({empty or "no segmentation"}), and '
                        'the pipeline loads masks: give every annotation its segmentation, or train a '
                        'model of boxes only.')


def unique_columns(ann_file: str, key: str, *fields: str) -> List[tuple]:
    """:func:`columns` in which no value is there twice."""
    found = columns(ann_file, key, *fields)
    for field, column in zip(fields, found):
        try:
            twice = [value for value, count in Counter(column).items() if count > 1]
        except TypeError as error:
            raise unreadable(ann_file) from error
        if twice:
            raise UserError(f'{ann_file} has more than one of its {key} with {field} {twice[0]!r}: '
                            'keep one of them.')
    return found
