"""tools/data/voc_to_coco.py."""
import json

import pytest
from pycocotools.coco import COCO

XML = """<annotation><filename>{name}.jpg</filename>
<size><width>64</width><height>48</height><depth>3</depth></size>{objects}</annotation>"""
OBJECT = """<object><name>{}</name><difficult>{}</difficult>
<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"""


@pytest.fixture
def voc(tmp_path):
    """Two images to train, one to validate."""
    root = tmp_path / 'VOC'
    for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True)
    objects = dict(
        a=[OBJECT.format('dog', 0, 3, 4, 13, 24), OBJECT.format('cat', 1, 0, 0, 64, 48)],
        b=[OBJECT.format('cat', 0, 5, 5, 5, 9), OBJECT.format('cat', 0, 1.5, 2, 3, 4)],
        c=[OBJECT.format('cat', 0, -2, 40, 70, 60)])
    for name, parts in objects.items():  # all of them say that they are of a.jpg
        (root / 'Annotations' / f'{name}.xml').write_text(XML.format(name='a', objects=''.join(parts)))
        (root / 'JPEGImages' / f'{name}.jpg').write_bytes(b'')
    (root / 'ImageSets/Main/train.txt').write_text('a  1\nb -1\n')
    (root / 'ImageSets/Main/val.txt').write_text('c\n')
    return root


def test_boxes_classes_and_images(voc, call, tmp_path):
    done = call('data/voc_to_coco.py', voc, '--out', tmp_path / 'out', '--splits', 'train', 'val')
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ['train: 2 images, 3 boxes, 1 without extent left out',
                                        'val: 1 images, 1 boxes', 'classes: cat, dog']
    train = json.loads((tmp_path / 'out/instances_train.json').read_text())
    assert [image['file_name'] for image in train['images']] == ['a.jpg', 'b.jpg']
    assert train['images'][0] == dict(id=1, file_name='a.jpg', width=64, height=48)
    assert [(x['image_id'], x['category_id'], x['bbox'], x['area'], x['iscrowd'])
            for x in train['annotations']] == [
        (1, 2, [3, 4, 10, 20], 200, 0), (1, 1, [0, 0, 64, 48], 64 * 48, 1),
        (2, 1, [1.5, 2, 1.5, 2], 3, 0)]
    coco = COCO(str(tmp_path / 'out/instances_train.json'))
    assert coco.getCatIds(['dog']) == [2] and coco.getAnnIds(catIds=[1], iscrowd=False) == [3]
    val = json.loads((tmp_path / 'out/instances_val.json').read_text())
    assert val['images'][0]['file_name'] == 'c.jpg' and val['annotations'][0]['bbox'] == [0, 40, 64, 8]


def test_order_of_classes(voc, call):
    done = call('data/voc_to_coco.py', voc, '--splits', 'train', '--classes', 'dog', 'cat', 'bird')
    assert done.stdout.splitlines()[-1] == 'classes: dog, cat, bird'
    content = json.loads((voc / 'instances_train.json').read_text())
    assert [x['category_id'] for x in content['annotations']] == [1, 2, 2]


@pytest.mark.parametrize('name, content, arguments, words', [
    ('ImageSets/Main/test.txt', None, [], 'test.txt does not exist'),
    ('ImageSets/Main/train.txt', '\n', ['--splits', 'train'], 'train.txt names no image'),
    ('ImageSets/Main/train.txt', 'z', ['--splits', 'train'], 'z.xml is no annotation of Pascal VOC'),
    ('Annotations/a.xml', '<annotation', ['--splits', 'train'], 'a.xml is no annotation of Pascal VOC'),
    ('Annotations/a.xml', '<annotation/>', ['--splits', 'train'], 'a.xml is no annotation'),
    ('Annotations/a.xml', XML.format(name='a', objects='<object><name>x</name></object>'),
     ['--splits', 'train'], 'a.xml is no annotation'),
    ('Annotations/a.xml', XML.format(name='a', objects='').replace('64', '0'), ['--splits', 'train'],
     'an image of 0 x 48 pixels'),
    ('JPEGImages/b.jpg', None, ['--splits', 'train'], 'has no picture b.jpg'),
    ('JPEGImages/a.jpg', None, ['--splits', 'train'], 'has no picture a.jpg'),
    ('Annotations/d.xml', '', ['--splits', 'train', '--classes', 'cat'], 'objects of dog too'),
])
def test_mistakes(name, content, arguments, words, voc, call, tmp_path):
    path = voc / name
    if content is None:
        path.unlink(missing_ok=True)
    else:
        path.write_text(content)
    done = call('data/voc_to_coco.py', voc, '--out', tmp_path / 'out', *arguments)
    assert done.returncode == 1 and words in done.stderr and not (tmp_path / 'out').exists()
