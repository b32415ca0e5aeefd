import filecmp
import json

import cv2
import make_mini_coco
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mmdla.errors import UserError


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    path = tmp_path_factory.mktemp('set')
    make_mini_coco.make_split(path, 'train', 60, (320, 240), seed=0)
    return path


@pytest.fixture(scope='module')
def coco(root):
    return COCO(str(root / 'annotations' / 'instances_train2017.json'))


def test_it_is_the_same_every_time(root, tmp_path):
    make_mini_coco.make_split(tmp_path, 'train', 60, (320, 240), seed=0)
    files = [p.relative_to(root) for p in root.rglob('*') if p.is_file()]
    _, different, missing = filecmp.cmpfiles(root, tmp_path, files, shallow=False)
    assert len(files) == 61 and not different and not missing


def test_it_holds_every_kind_of_object(coco):
    annotations = coco.dataset['annotations']
    plain = [a for a in annotations if not a['iscrowd']]
    assert {a['category_id'] for a in plain} == {1, 2, 3, 4, 5}
    sizes = [np.digitize(a['area'], [32**2, 96**2]) for a in plain]
    assert set(sizes) == {0, 1, 2}
    crowds = [a for a in annotations if a['iscrowd']]
    assert crowds and all(isinstance(a['segmentation'], dict) for a in crowds)
    empty = set(coco.imgs) - {a['image_id'] for a in annotations}
    assert empty
    assert any(len(a['segmentation']) > 1 for a in plain), 'no object in several parts'


def test_annotations_are_exact(coco, root):
    """Masks of one image do not overlap, and the boxes and areas are the polygons'."""
    overlapping = 0
    for image_id in coco.imgs:
        total = np.zeros((240, 320))
        boxes = []
        for a in coco.loadAnns(coco.getAnnIds([image_id])):
            mask = coco.annToMask(a)
            x, y, w, h = a['bbox']
            assert x >= 0 and y >= 0 and x + w <= 320 and y + h <= 240
            if not a['iscrowd']:
                points = np.concatenate([np.reshape(s, (-1, 2)) for s in a['segmentation']])
                np.testing.assert_allclose([x, y], points.min(0), atol=.02)
                np.testing.assert_allclose([x + w, y + h], points.max(0), atol=.02)
                perimeter = sum(
                    np.linalg.norm(np.roll(p, 1, 0) - p, axis=1).sum()
                    for p in (np.reshape(s, (-1, 2)) for s in a['segmentation']))
                assert abs(mask.sum() - a['area']) < 4 + perimeter
                total += cv2.erode(mask, np.ones((3, 3), np.uint8))
                boxes.append(a['bbox'])
        assert total.max() <= 1
        if len(boxes) > 1:
            iou = coco_mask.iou(boxes, boxes, [0] * len(boxes))
            overlapping += np.triu(iou, 1).max() > 0.05
    assert overlapping > 10


def test_the_colour_under_a_mask_is_the_objects_own(coco, root):
    """A polygon shifted by some pixels would mix in its surroundings."""
    for image_id in list(coco.imgs)[:20]:
        image = cv2.imread(str(root / 'train2017' / coco.imgs[image_id]['file_name']))
        for a in coco.loadAnns(coco.getAnnIds([image_id], iscrowd=False)):
            # two pixels from the edge: edges are drawn smooth
            inside = cv2.erode(coco.annToMask(a), np.ones((5, 5), np.uint8)).astype(bool)
            if inside.sum() > 30:
                assert image[inside].std(0).max() < 12


def test_command_line(tmp_path, monkeypatch, capsys):
    target = str(tmp_path / 'mini')
    monkeypatch.setattr('sys.argv', ['', target, '--train', '2', '--val', '1'])
    make_mini_coco.main()
    assert 'train: 2 images' in capsys.readouterr().out
    content = json.loads((tmp_path / 'mini/annotations/instances_val2017.json').read_text())
    assert len(content['images']) == 1
    with pytest.raises(UserError, match='exists already'):
        make_mini_coco.main()
    monkeypatch.setattr('sys.argv', ['', str(tmp_path / 'x'), '--size', '50', '50'])
    with pytest.raises(UserError, match='at least 120'):
        make_mini_coco.main()
