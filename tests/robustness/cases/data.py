"""Data sets that are broken, incomplete or of other classes than the model."""
import json
import os
import pickle
import shutil

import cv2
import numpy as np

from .case import Case

MINI, SHAPES = dict(MINI_ROOT='{SCRATCH}/data/'), dict(MINI_SHAPES_ROOT='{SCRATCH}/data/')
MASK = 'configs/mini/mask_rcnn_dla_l18_mini.py'
TRAIN, WORK = '--work-dir {SCRATCH}/work {FEW}', '--work-dir {SCRATCH}/work'


def copied(root, inputs):
    """A copy of a data set whose files are links."""
    target = inputs.SCRATCH / 'data'
    shutil.copytree(root, target, copy_function=os.symlink)
    return target


def replace(path, content):
    """Write in the place of a link."""
    path.unlink()
    path.write_bytes(content)


def annotations(change, split='train'):
    """Makes a set whose parsed annotation file is changed."""

    def make(inputs):
        path = copied(inputs.MINI_ROOT, inputs) / 'annotations' / f'instances_{split}2017.json'
        content = json.loads(path.read_text())
        replace(path, json.dumps(change(content) or content).encode())

    return make


def text(change):
    """Makes a set whose training annotations are changed as bytes."""

    def make(inputs):
        path = copied(inputs.MINI_ROOT, inputs) / 'annotations' / 'instances_train2017.json'
        replace(path, change(path.read_bytes()))

    return make


def each(key, change):
    """Changes every entry of a list of the annotation file."""

    def change_all(content):
        for entry in content[key]:
            change(entry)

    return annotations(change_all)


def images(change, suffix='.png'):
    """Makes a set whose training images hold other bytes, and may be of another format."""

    def make(inputs):
        root = copied(inputs.MINI_ROOT, inputs)
        for path in (root / 'train2017').iterdir():
            content = cv2.imencode(suffix, cv2.imread(str(path)))[1].tobytes()
            path.unlink()
            path.with_suffix(suffix).write_bytes(change(content))
        path = root / 'annotations' / 'instances_train2017.json'
        replace(path, path.read_bytes().replace(b'.png', suffix.encode()))

    return make


def picture(width, height):
    """Makes a set whose training images are all of one size."""
    content = cv2.imencode('.png', np.zeros((height, width, 3), np.uint8))[1].tobytes()

    def make(inputs):
        each('images', lambda image: image.update(width=width, height=height))(inputs)
        for path in (inputs.SCRATCH / 'data' / 'train2017').iterdir():
            replace(path, content)

    return make


def missing(split, name):

    def make(inputs):
        (copied(inputs.MINI_ROOT, inputs) / f'{split}2017' / name).unlink()

    return make


def other_images(inputs):
    root = copied(inputs.MINI_ROOT, inputs)
    shutil.copy(root / 'annotations/instances_train2017.json', root / 'val.json')
    os.replace(root / 'val.json', root / 'annotations/instances_val2017.json')


def shapes(change):
    """Makes a set of class folders and changes it."""
    return lambda inputs: change(copied(inputs.SHAPES_ROOT, inputs))


def empty_folders(root):
    for path in root.glob('*/*/*.png'):
        path.unlink()


def fewer_folders(root):
    for path in root.glob('*/star'):
        shutil.rmtree(path)


def more_folders(root):
    for split in ('train', 'val'):
        shutil.copytree(root / split / 'disk', root / split / 'zz')


def same(inputs):
    copied(inputs.SHAPES_ROOT, inputs)


def renamed(root):
    for path in root.glob('*/disk'):
        path.rename(path.with_name('aaa'))


def listed(count, line='disk/0.png {}'):
    """Makes a set with a list of labels from 0."""

    def make(inputs):
        path = copied(inputs.SHAPES_ROOT, inputs) / 'list.txt'
        path.write_text(''.join(line.format(label) + '\n' for label in range(count)))

    return make


LIST = 'train_dataloader.dataset.ann_file=list.txt'


def cifar(inputs):
    folder = inputs.SCRATCH / 'data' / 'cifar-100-python'
    folder.mkdir(parents=True)
    for split in ('train', 'test'):
        content = dict(data=np.full((2, 3072), np.nan), fine_labels=[0, 1])
        (folder / split).write_bytes(pickle.dumps(content))


def cut(part):
    return lambda content: content[:int(len(content) * part)]


def damage(content):
    middle = len(content) // 2
    return content[:middle] + b'\xff\xd9' * 20 + content[middle + 40:]


def train(name, words, make, options='', config='{DET}'):
    return Case(name, 'train.py', f'{config} {options} {TRAIN}', words, make, MINI)


def test(name, words, make, options=''):
    return Case(name, 'test.py', f'{{DET}} {{DET_CKPT}} {options} {WORK}', words, make, MINI)


def train_shapes(name, words, make, options=''):
    return Case(name, 'train.py', f'{{CLS}} {TRAIN} {options}', words, make, SHAPES)


FILE = 'instances_train2017.json'
NOT_LOADED = f'{FILE} cannot be loaded, '
NOT_PREPARED = '.png cannot be prepared, '
CASES = [
    train('d_box3', NOT_LOADED + 'a bbox has not four numbers',
          each('annotations', lambda a: a['bbox'].pop())),
    train('d_strbox', NOT_LOADED + 'a bbox holds something else than numbers',
          each('annotations', lambda a: a.update(bbox=[str(v) for v in a['bbox']]))),
    train('d_nobox', NOT_LOADED + "an image or annotation has no 'bbox'",
          each('annotations', lambda a: a.pop('bbox'))),
    train('d_infbox', f'{FILE} has the number Infinity',
          each('annotations', lambda a: a.update(bbox=[float('inf')] * 4))),
    train('d_nanbox', f'{FILE} has the number NaN',
          each('annotations', lambda a: a.update(bbox=[float('nan')] * 4))),
    train('d_dup_ann', NOT_LOADED + 'two annotations have the same id',
          each('annotations', lambda a: a.update(id=1))),
    train('d_dup_cat', f"{FILE} has more than one of its categories with name 'box'",
          annotations(lambda c: c['categories'].append(dict(id=99, name='box')))),
    train('d_dup_img', f"{FILE} has more than one of its images with id 1",
          annotations(lambda c: c['images'].append(c['images'][0]))),
    train('d_dup_img_val', 'val2017.json has more than one of its images with id 1',
          annotations(lambda c: c['images'].append(c['images'][0]), 'val')),
    test('t_dup_img_val', 'val2017.json has more than one of its images with id 1',
         annotations(lambda c: c['images'].append(c['images'][0]), 'val')),
    train('d_midbroken_json', NOT_LOADED + 'it is broken JSON (Expecting',
          text(lambda content: content.replace(b'"bbox": [', b'"bbox" [', 1))),
    train('d_missing_mid', 'train2017/000000000005.png does not exist (1 of the 12 images',
          missing('train', '000000000005.png')),
    train('d_missing_val', 'val2017/000000000003.png does not exist (1 of the 6 images',
          missing('val', '000000000003.png')),
    test('t_missing_val', 'val2017/000000000003.png does not exist (1 of the 6 images',
         missing('val', '000000000003.png')),
    train('d_val_other', 'val2017/000000000007.png does not exist (6 of the 12 images', other_images),
    train('d_noann', f'{FILE} has no annotations', annotations(lambda c: c.update(annotations=[]))),
    train('d_noann_val', 'val2017.json has no annotations',
          annotations(lambda c: c.update(annotations=[]), 'val')),
    test('t_noann_val', 'val2017.json has no annotations',
         annotations(lambda c: c.update(annotations=[]), 'val')),
    test('the name of a class in the test set is another than the checkpoint\'s',
         'such as disc for disk: test it on a set of the same classes, or if only the names differ, '
         'rename the categories in ',
         annotations(lambda c: c['categories'][0].update(name='disc'), 'val'),
         '--cfg-options test_dataloader.dataset.metainfo.classes=disc,box,triangle,star,cross'),
    train('d_unkcat_all', NOT_LOADED + 'no image is left',
          each('annotations', lambda a: a.update(category_id=77))),
    train('d_px1', NOT_LOADED + 'no image is left', picture(1, 1)),
    train('d_tall4000', NOT_LOADED + 'no image is left', picture(1, 4000)),
    train('d_zero', NOT_PREPARED + 'it is an empty file', images(cut(0))),
    train('d_textimg', NOT_PREPARED + 'it is no whole picture', images(lambda content: b'some text')),
    train('d_png_trunc', NOT_PREPARED + 'it is no whole picture', images(cut(.5))),
    train('d_png_corrupt', NOT_PREPARED + 'it is no whole picture', images(damage)),
    train('d_jpg_trunc', '.jpg cannot be prepared, it is no whole picture', images(cut(.5), '.jpg')),
    train('d_jpg_corrupt', '--check-data found 12 faults in the data', images(damage, '.jpg'),
          '--check-data'),
    train('check_data_trunc', '--check-data found 12 faults', images(cut(.5)), '--check-data'),
    train('check_data_box3', '--check-data found', each('annotations', lambda a: a['bbox'].pop()),
          '--check-data'),
    test('check_data_test', 'it is no whole picture', lambda inputs: replace(
        copied(inputs.MINI_ROOT, inputs) / 'val2017/000000000003.png', b'text'), '--check-data'),
    train('m_segnone', f'{FILE} has annotations without a mask',
          each('annotations', lambda a: a.update(segmentation=None)), config=MASK),
    Case('one class without its comma', 'train.py',
         f'{{DET}} {TRAIN} train_dataloader.dataset.metainfo.classes=box',
         "metainfo.classes='box' is neither a tuple nor a file: a tuple of one class needs its comma"),
    Case('cf_nanimg', 'train.py', 'configs/cifar/dla_l20_b128_cifar100.py --work-dir {SCRATCH}/work',
         'images of float64', cifar, dict(CIFAR_ROOT='{SCRATCH}/data')),
    train_shapes('sp_emptyclass', 'no picture (.bmp, ', shapes(empty_folders)),
    train_shapes('sp_fewclasses', 'model.head.num_classes=5 does not match the 4 class folders',
                 shapes(fewer_folders)),
    train_shapes('sp_moreclasses', 'model.head.num_classes=5 does not match the 6 class folders',
                 shapes(more_folders)),
    train_shapes('sp_valother', 'has aaa, which ',
                 shapes(lambda root: (root / 'val/disk').rename(root / 'val/aaa'))),
    train_shapes('sp_valmissingclass', 'train has box, which ',
                 shapes(lambda root: shutil.rmtree(root / 'val/box'))),
    train_shapes('sp_numclasses', 'set model.head.num_classes=5', shapes(lambda root: None),
                 'model.head.num_classes=3'),
    train_shapes('sp_numclasses9', 'set model.head.num_classes=5', shapes(lambda root: None),
                 'model.head.num_classes=9'),
    train_shapes('sp_order', 'metainfo.classes has box in another place than the folders of ', same,
                 'train_dataloader.dataset.metainfo.classes=disk,cross,box,star,triangle'),
    train_shapes('sp_fewnames', 'has the names of 2 classes (a, b) and ', same,
                 'train_dataloader.dataset.metainfo.classes=a,b'),
    train_shapes('sp_valnames', 'val_dataloader.dataset has the names of 1000 classes', same,
                 'val_dataloader.dataset.type=ImageNet'),
    train_shapes('sp_onename', "metainfo.classes='box' is neither a tuple nor a file", same,
                 'train_dataloader.dataset.metainfo.classes=box'),
    train_shapes('sp_split', 'data/train has no argument split: take it out',
                 same, 'train_dataloader.dataset.split=train'),
    train_shapes('list_toomany', 'list.txt has the label 5, and model.head.num_classes=5 has those from',
                 listed(6), LIST),
    train_shapes('list_toofew', 'list.txt has labels up to 2 only and model.head.num_classes=5',
                 listed(3), LIST),
    train_shapes('list_names', 'has the names of 2 classes and model.head.num_classes=5', listed(5),
                 LIST + ' train_dataloader.dataset.metainfo.classes=a,b'),
    train_shapes('list_nolabel', 'list.txt has no label', listed(1, 'x.png'), LIST),
    train_shapes('list_empty', 'list.txt is empty', listed(0), LIST),
    Case('sp_resume', 'train.py', f'{{CLS}} {TRAIN.replace("{FEW}", "")} --resume {{CLS_CKPT}} {{FEW}} '
         'train_cfg.max_epochs=2', 'such as aaa for box: go on with it on a set of the same classes',
         shapes(renamed), SHAPES),
    Case('lbl_nobox', 'test.py', f'{{CLS}} {{CLS_CKPT}} {WORK}',
         'does not match the 4 class folders', shapes(lambda root: shutil.rmtree(root / 'val/box')),
         SHAPES),
    Case('lbl_renamed', 'test.py', f'{{CLS}} {{CLS_CKPT}} {WORK}',
         'such as aaa for box: test it on a set of the same classes, or if only the names differ, '
         'rename its folders', shapes(lambda root: (root / 'val/disk').rename(root / 'val/aaa')),
         SHAPES),
]
