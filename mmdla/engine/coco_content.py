"""What can be wrong with a parsed COCO annotation file."""
from collections import Counter
from reprlib import repr as short
from typing import Iterator, List, Optional, Tuple

LIMIT = 1e9  # NaN and infinities are not below it either


def entries(content, key: str) -> List[dict]:
    """A list of the file without what is no entry."""
    value = content.get(key) if isinstance(content, dict) else None
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def size_of(image: dict) -> Optional[Tuple[int, int]]:
    """The (width, height) that is said of an image; None if they are no sizes."""
    size = image.get('width'), image.get('height')
    whole = all(isinstance(side, (int, float)) and side > 0 and side % 1 == 0 for side in size)
    return (int(size[0]), int(size[1])) if whole else None


def coco_problems(content, masks: bool = False) -> Iterator[str]:
    """What is wrong with a detection set, each as a line.

    Args:
        content: The parsed file.
        masks (bool): Whether every annotation must have a mask.
    """
    for key, names in (('images', ('id', 'file_name')), ('annotations', ('id', )),
                       ('categories', ('id', 'name'))):
        if not entries(content, key) and key != 'annotations':
            yield f'it has no {key}'
        for name in names:
            yield from repeated(entries(content, key), key, name)
    images = {str(image.get('id')): image for image in entries(content, 'images')}
    for image in images.values():
        if not isinstance(image.get('file_name'), str) or not size_of(image):
            yield f'image {image.get("id")} lacks its file_name, width or height'
    categories = {str(category.get('id')) for category in entries(content, 'categories')}
    for annotation in entries(content, 'annotations'):
        for problem in annotation_problems(annotation, images, categories, masks):
            yield f'annotation {annotation.get("id")} {problem}'


def repeated(listed: List[dict], key: str, name: str) -> Iterator[str]:
    for value, count in Counter(str(entry.get(name)) for entry in listed).items():
        if count > 1:
            yield f'{count} of its {key} have the {name} {value}'


def annotation_problems(annotation: dict, images: dict, categories: set, masks: bool) -> Iterator[str]:
    image = images.get(str(annotation.get('image_id')))
    if image is None:
        yield f'is of image {annotation.get("image_id")}, which is not in the file'
    if str(annotation.get('category_id')) not in categories:
        yield f'is of category {annotation.get("category_id")}, which is not in the file'
    if not is_box(annotation.get('bbox')):
        yield f'has a bbox that is not four finite numbers ({short(annotation.get("bbox"))})'
    if masks and not is_mask(annotation.get('segmentation')):
        yield 'has no segmentation in polygons or run lengths'


def numbers(values) -> bool:
    """Whether this is a list of finite numbers."""
    return isinstance(values, list) and all(
        isinstance(value, (int, float)) and abs(value) < LIMIT for value in values)


def is_box(box) -> bool:
    """Whether this is (x, y, width, height)."""
    return numbers(box) and len(box) == 4


def unused_boxes(content) -> List[str]:
    """Boxes without area or outside their image, each as a line: mmdet trains without them."""
    sizes = {str(image.get('id')): size_of(image) for image in entries(content, 'images')}
    found = []
    for annotation in entries(content, 'annotations'):
        box, size = annotation.get('bbox'), sizes.get(str(annotation.get('image_id')))
        if not is_box(box):
            continue
        x, y, width, height = box
        if width <= 0 or height <= 0:
            found.append(f'annotation {annotation.get("id")} has a bbox without area ({short(box)})')
        elif size and (x >= size[0] or y >= size[1] or x + width <= 0 or y + height <= 0):
            found.append(f'annotation {annotation.get("id")} has a bbox outside its image '
                         f'({short(box)})')
    return found


def is_mask(segmentation) -> bool:
    """Whether this is a mask: run lengths, or polygons of (x, y) pairs.

    mmdet leaves out polygons that are no such pairs; one has to be left.
    """
    if isinstance(segmentation, dict):
        return {'counts', 'size'} <= segmentation.keys()
    return isinstance(segmentation, list) and all(map(numbers, segmentation)) and any(
        len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in segmentation)
