import json
import shutil

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmdla.engine import check_data as module
from mmdla.engine.check_data import check_data, picture_problem
from mmdla.engine.coco_content import coco_problems, unused_boxes
from mmdla.errors import UserError
from mmdla.hosts.compat import import_datasets

IMAGE = dict(id=1, file_name='a.png', width=40, height=30)
BOX = dict(id=1, image_id=1, category_id=1, bbox=[1, 2, 30, 20], segmentation=[[0, 0, 4, 0, 4, 4]])


def content(**changes):
    """A set of one annotation, with changes to it."""
    return dict(images=[IMAGE], annotations=[{**BOX, **changes}], categories=[dict(id=1, name='x')])


def encoded(suffix, size=(40, 30)):
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    return cv2.imencode(suffix, pixels)[1].tobytes()


def test_a_sound_set():
    assert list(coco_problems(content(), masks=True)) == []
    for mask in (dict(counts='x', size=[30, 40]), [[1, 2], [0, 0, 4, 0, 4, 4]]):
        assert list(coco_problems(content(segmentation=mask), True)) == []
    assert list(coco_problems({**content(), 'images': [{**IMAGE, 'width': 40., 'height': 30.}]})) == []


@pytest.mark.parametrize('changes, words', [
    (dict(bbox=None), 'is not four finite numbers'),
    (dict(bbox=[1, 2, 3]), 'is not four finite numbers'),
    (dict(bbox=[1, 2, 3, '4']), 'is not four finite numbers'),
    (dict(bbox=[1, 2, 3, float('nan')]), 'is not four finite numbers'),
    (dict(bbox=[1, 2, 3, float('inf')]), 'is not four finite numbers'),
    (dict(image_id=7), 'is of image 7'), (dict(category_id=[7]), 'is of category [7]'),
    (dict(segmentation=None), 'no segmentation'), (dict(segmentation=[]), 'no segmentation'),
    (dict(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), 'no segmentation'),
    (dict(segmentation=[[0, 0, 4, 0, 4, 4], None]), 'no segmentation')])
def test_bad_annotations(changes, words):
    problem, = coco_problems(content(**changes), masks=True)
    assert problem.startswith('annotation 1 ') and words in problem


@pytest.mark.parametrize('box, words', [
    ([1, 2, 0, 4], 'without area'), ([50, 2, 3, 4], 'outside its image'), ([1, 2, 3, 4], None),
    ([1, 2, 3], None)])
def test_boxes_that_are_left_out(box, words):
    found = unused_boxes(content(bbox=box))
    assert found == [] if words is None else words in found[0]


@pytest.mark.parametrize('width', [0, 40.5, float('inf'), float('nan'), '40', None])
def test_bad_sizes(width):
    problem, = coco_problems({**content(), 'images': [{**IMAGE, 'width': width}]})
    assert problem == 'image 1 lacks its file_name, width or height'


def test_bad_lists():
    twice = {key: listed * 2 for key, listed in content().items()}
    assert list(coco_problems(twice)) == [
        '2 of its images have the id 1', '2 of its images have the file_name a.png',
        '2 of its annotations have the id 1', '2 of its categories have the id 1',
        '2 of its categories have the name x']
    assert list(coco_problems([])) == list(coco_problems(dict(images=3, categories=[3]))) == [
        'it has no images', 'it has no categories']
    assert list(coco_problems({**content(), 'images': [dict(id=1)]})) == [
        'image 1 lacks its file_name, width or height']


@pytest.mark.parametrize('suffix, words', [
    ('.png', 'is no whole picture'), ('.jpg', 'is decoded only in part (Corrupt JPEG data: premature')])
def test_pictures(tmp_path, suffix, words, capfd):
    path, whole = tmp_path / f'a{suffix}', encoded(suffix)
    assert 'No such file' in picture_problem(str(path))
    path.write_bytes(whole)
    assert picture_problem(str(path)) is picture_problem(str(path), (40, 30)) is None
    assert '40 x 30 pixels and the annotation file says 30 x 40' in picture_problem(str(path), (30, 40))
    middle = len(whole) * 2 // 3
    for bad, why in ((b'', 'is an empty file'), (b'text', 'is no whole picture'),
                     (whole[:middle], 'is no whole picture'),
                     (whole[:middle] + b'\xff\xd9' * 20 + whole[middle + 40:], words)):
        path.write_bytes(bad)
        assert why in picture_problem(str(path))
    assert capfd.readouterr().err == ''


def test_bytes_after_the_last_pixel_of_a_jpeg_are_harmless(tmp_path):
    path, whole = tmp_path / 'a.jpg', encoded('.jpg')
    path.write_bytes(whole[:-2] + b'\0\0' + whole[-2:])
    assert picture_problem(str(path)) is None


@pytest.fixture
def cfg(mini_root, tmp_path, monkeypatch):
    root = tmp_path / 'set'
    shutil.copytree(mini_root, root)
    monkeypatch.setenv('MINI_ROOT', f'{root}/')
    import_datasets('mmdet')
    return Config.fromfile('configs/mini/faster_rcnn_dla_l18_mini.py')


@pytest.mark.parametrize('many', [0, 1000])
def test_all_faults_are_listed(cfg, tmp_path, capsys, monkeypatch, many):
    """With and without processes of their own for the pictures."""
    monkeypatch.setattr(module, 'WORTH_WORKERS', many)
    check_data(cfg, ('train', 'val', 'test'))
    assert 'data: 18 images and ' in capsys.readouterr().out
    (tmp_path / 'set/train2017/000000000002.png').write_bytes(b'x')
    (tmp_path / 'set/val2017/000000000003.png').unlink()
    path = tmp_path / 'set/annotations/instances_train2017.json'
    content = json.loads(path.read_text())
    content['annotations'][4]['bbox'][2] = 0
    content['annotations'][5]['bbox'][2] = None
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match='found 3 faults in the data') as error:
        check_data(cfg, ('train', 'val'))
    assert '\n' not in str(error.value)
    out = capsys.readouterr().out
    for words in ('000000000002.png: it is no whole picture', '000000000003.png: No such file',
                  'train2017.json: annotation 6 has a bbox that is not four finite numbers',
                  'note: 1 boxes are left out in training, the first in ',
                  'train2017.json: annotation 5 has a bbox without area'):
        assert words in out


def test_a_long_list_ends(cfg, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(module, 'MOST', 5)
    for path in (tmp_path / 'set/train2017').iterdir():
        path.write_bytes(b'')
    with pytest.raises(UserError, match='found 12 faults'):
        check_data(cfg, ('train', ))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8 and lines[-1] == 'and 7 more'


def test_broken_json(cfg, tmp_path):
    (tmp_path / 'set/annotations/instances_train2017.json').write_text('{"images": [')
    with pytest.raises(UserError, match=r'found 1 fault in .*it cannot be read \(JSONDecodeError'):
        check_data(cfg, ('train', ))


def test_types_that_are_classes(cfg, capsys):
    from mmdet.datasets import CocoDataset
    cfg.train_dataloader.dataset.type = CocoDataset
    check_data(cfg, ('train', 'val'))
    assert 'data: 18 images and ' in capsys.readouterr().out


def test_class_folders(tmp_path, monkeypatch, capsys):
    for split in ('train', 'val'):
        for name in ('disk', 'box'):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / 'a.png').write_bytes(encoded('.png'))
    monkeypatch.setenv('MINI_SHAPES_ROOT', str(tmp_path))
    import_datasets('mmpretrain')
    cfg = Config.fromfile('configs/mini/dla_l18_mini_shapes.py')
    check_data(cfg, ('train', 'val'))
    assert 'data: 4 images are sound' in capsys.readouterr().out
    (tmp_path / 'val/box/a.png').write_bytes(b'x')
    with pytest.raises(UserError, match='val/box/a.png: it is no whole picture'):
        check_data(cfg, ('train', 'val'))
