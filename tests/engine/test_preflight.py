import json
import shutil

import pytest
from mmengine.config import Config

from mmdla.engine import preflight
from mmdla.errors import UserError

CONFIG = 'configs/mini/faster_rcnn_dla_l18_mini.py'


@pytest.fixture
def cfg(mini_root, tmp_path, monkeypatch):
    """The mini config on a copy of the generated set."""
    root = tmp_path / 'set'
    shutil.copytree(mini_root, root)
    monkeypatch.setenv('MINI_ROOT', str(root))
    return Config.fromfile(CONFIG)


def fails(cfg, words, splits=('train', 'val')):
    with pytest.raises(UserError, match=words) as error:
        preflight.check(cfg, splits)
    assert '\n' not in str(error.value)


def test_a_good_config_passes(cfg):
    preflight.check(cfg, ('train', 'val', 'test'))


def test_missing_data(cfg, tmp_path):
    shutil.rmtree(tmp_path / 'set' / 'val2017')
    fails(cfg, 'val_dataloader.dataset.data_prefix: .*val2017/? does not exist')
    shutil.rmtree(tmp_path / 'set')
    fails(cfg, 'train_dataloader.dataset.ann_file: .* does not exist')


def test_missing_images(cfg, tmp_path):
    for image in (tmp_path / 'set' / 'train2017').iterdir():
        image.unlink()
    fails(cfg, r'000000000001.png does not exist \(12 of the 12 images of ')


def test_evaluator_of_another_set(cfg, tmp_path):
    other = tmp_path / 'other.json'
    own = tmp_path / 'set/annotations/instances_val2017.json'
    other.write_text(own.read_text().replace('.png', '.jpg'))
    cfg.test_evaluator.ann_file = str(other)
    fails(cfg, 'test_evaluator.ann_file: .* is of other images', ('test', ))


def test_classes_in_a_file(cfg, tmp_path):
    names = tmp_path / 'classes.txt'
    names.write_text('\n'.join(cfg.classes) + '\n')
    cfg.train_dataloader.dataset.metainfo.classes = str(names)
    preflight.check(cfg, ('train', ))


@pytest.mark.parametrize('name', [
    'mmdet::htc/htc_r50_fpn_1x_coco.py', 'mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py',
    'mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py',
    'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
    'mmdet::soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py',
    'mmdet::lvis/mask-rcnn_r50_fpn_sample1e-3_ms-1x_lvis-v1.py',
    'mmdet::v3det/faster_rcnn_r50_fpn_8x4_sample1e-3_mstrain_v3det_2x.py',
    'mmpretrain::resnet/resnet50_8xb32_in1k.py', 'mmpretrain::resnet/resnet18_8xb16_cifar10.py'])
def test_the_hosts_own_configs_pass(name, monkeypatch):
    """With their data there: file checks answer yes, the class names are COCO's."""
    for check in ('check_exists', 'check_coco', 'check_class_folders'):
        monkeypatch.setattr(preflight, check, lambda *args: None)
    from mmdet.datasets import CocoDataset
    from mmengine.hub import get_config
    monkeypatch.setattr(preflight, 'coco_categories', lambda path: CocoDataset.METAINFO['classes'])
    monkeypatch.setattr(preflight, 'first_image', lambda path: '1.jpg')
    preflight.check(get_config(name), ('train', 'val', 'test'))


def test_a_data_set_that_downloads_itself_may_be_absent():
    from mmengine.hub import get_config
    preflight.check(get_config('mmpretrain::resnet/resnet18_8xb16_cifar10.py'), ('train', 'val'))


def test_missing_evaluator_file(cfg):
    cfg.test_evaluator.ann_file = 'nowhere.json'
    fails(cfg, 'test_evaluator.ann_file: nowhere.json does not exist', ('test', ))


@pytest.mark.parametrize('content', ['', '{', '{"images": []}', '{"categories": [1]}',
                                     '{"categories": ['])
def test_unreadable_annotations(cfg, tmp_path, content):
    (tmp_path / 'set/annotations/instances_train2017.json').write_text(content)
    fails(cfg, 'is no whole COCO annotation file')


def test_class_names_that_do_not_match(cfg):
    cfg.train_dataloader.dataset.metainfo.classes = ('disk', 'Box', 'triangle', 'star', 'cross')
    fails(cfg, r'1 of its 5 classes are not in .* \(Box\), which has disk, box, triangle')
    cfg.train_dataloader.dataset.pop('metainfo')
    fails(cfg, '80 of its 80 classes are not in .*person, bicycle')


def test_num_classes_that_does_not_match(cfg):
    cfg.model.roi_head.bbox_head.num_classes = 80
    fails(cfg, 'model.roi_head.bbox_head.num_classes=80 does not match the 5 classes')


def test_wrapped_datasets_are_checked(cfg):
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[dict(type='RepeatDataset', times=2, dataset=inner)])
    preflight.check(cfg, ('train', ))
    inner.metainfo.classes = ('ring', )
    cfg.train_dataloader.dataset.datasets[0].dataset = inner
    fails(cfg, 'ring')


def test_missing_start(cfg):
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='nowhere.pth')
    fails(cfg, 'nowhere.pth does not exist, from which the backbone starts')
    preflight.check(cfg, ('test', ))


def test_categories_anywhere_in_the_file(tmp_path):
    path = tmp_path / 'a.json'
    categories = [dict(id=1, name='red [1]', more=['categories']), dict(id=2, name='b]')]
    path.write_text(json.dumps(dict(categories=categories, images=[], annotations=[])))
    assert preflight.coco_categories(str(path)) == ['red [1]', 'b]']
    path.write_text(json.dumps(dict(images=[], categories=categories)))
    assert preflight.coco_categories(str(path)) == ['red [1]', 'b]']


def test_cifar(tmp_path, monkeypatch):
    monkeypatch.setenv('CIFAR_ROOT', str(tmp_path))
    cfg = Config.fromfile('configs/cifar/resnet20_b128_cifar100.py')
    fails(cfg, 'cifar-100-python/train does not exist, and there is no cifar-100-python.tar.gz')
    (tmp_path / 'cifar-100-python.tar.gz').touch()
    preflight.check(cfg, ('train', 'val', 'test'))
    cfg.model.head.num_classes = 10
    fails(cfg, 'model.head.num_classes=10 does not match the 100 classes')


def test_cifar_stands_in_no_wrapper(tmp_path, monkeypatch):
    monkeypatch.setenv('CIFAR_ROOT', str(tmp_path))
    (tmp_path / 'cifar-100-python.tar.gz').touch()
    cfg = Config.fromfile('configs/cifar/resnet20_b128_cifar100.py')
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=2, dataset=cfg.train_dataloader.dataset)
    fails(cfg, 'cannot stand in a RepeatDataset')


@pytest.mark.parametrize('name, zero', [('mask_rcnn_mrla_l50', True), ('mask_rcnn_mrla_b50', False)])
def test_ways_on_fit_the_backbone(name, zero):
    cfg = Config.fromfile(f'configs/{name}_1x_coco.py')
    with pytest.raises(UserError, match='pretrain it') as error:
        preflight.check_start(cfg.model.backbone)
    assert ('attention_init' in str(error.value)) == zero


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_images_in_folders_below(cfg, tmp_path):
    root = tmp_path / 'set'
    (root / 'train2017').rename(root / 'below')
    (root / 'train2017').mkdir()
    (root / 'below').rename(root / 'train2017' / 'below')
    path = root / 'annotations/instances_train2017.json'
    edit(path, lambda c: [i.update(file_name=f'below/{i["file_name"]}') for i in c['images']])
    preflight.check(cfg, ('train', ))
    (root / 'train2017/below/000000000007.png').unlink()
    fails(cfg, r'below/000000000007.png does not exist \(1 of the 12')


def test_images_of_another_backend_are_not_looked_for(cfg, tmp_path):
    shutil.rmtree(tmp_path / 'set/train2017')
    (tmp_path / 'set/train2017').mkdir()
    cfg.train_dataloader.dataset.backend_args = dict(backend='petrel')
    preflight.check(cfg, ('train', ))


def test_a_test_without_annotations_only_writes_results(cfg, tmp_path):
    edit(tmp_path / 'set/annotations/instances_val2017.json', lambda c: c.pop('annotations'))
    fails(cfg, 'has no annotations', ('test', ))
    cfg.test_evaluator.format_only = True
    preflight.check(cfg, ('test', ))


def test_an_evaluator_with_annotations_of_its_own(cfg, tmp_path):
    own = tmp_path / 'set/annotations/instances_val2017.json'
    cfg.test_evaluator.ann_file = str(shutil.copy(own, tmp_path / 'whole.json'))
    edit(own, lambda c: c.pop('annotations'))
    preflight.check(cfg, ('test', ))


def test_training_images_without_objects(cfg, tmp_path):
    edit(tmp_path / 'set/annotations/instances_train2017.json', lambda c: c.pop('annotations'))
    fails(cfg, 'has no annotations')
    cfg.train_dataloader.dataset.filter_cfg.filter_empty_gt = False
    preflight.check(cfg, ('train', ))


@pytest.mark.parametrize('kind', ['LVISV1Dataset', 'Objects365V1Dataset'])
def test_files_with_other_fields_are_left_to_the_host(cfg, tmp_path, kind):
    edit(tmp_path / 'set/annotations/instances_train2017.json', lambda c: [
        i.update(coco_url=f'http://images.cocodataset.org/train2017/{i.pop("file_name")}')
        for i in c['images']])
    fails(cfg, 'is no whole COCO annotation file')
    cfg.train_dataloader.dataset.type = kind
    preflight.check(cfg, ('train', ))
    cfg.model.roi_head.bbox_head.num_classes = 80
    fails(cfg, 'model.roi_head.bbox_head.num_classes=80 does not match the 5 classes')


def test_types_that_are_classes(cfg, tmp_path):
    from mmdet.datasets import CocoDataset
    from mmdet.datasets.transforms import LoadAnnotations
    from mmdet.evaluation import CocoMetric
    cfg.train_dataloader.dataset.type = CocoDataset
    cfg.val_evaluator.type = CocoMetric
    cfg.train_dataloader.dataset.pipeline[1] = dict(type=LoadAnnotations, with_mask=True)
    preflight.check(cfg, ('train', 'val'))
    edit(tmp_path / 'set/annotations/instances_train2017.json',
         lambda c: [a.pop('segmentation') for a in c['annotations']])
    fails(cfg, 'has annotations without a mask')


def test_numbers_that_only_look_infinite(cfg, tmp_path):
    path = tmp_path / 'set/annotations/instances_train2017.json'
    edit(path, lambda c: c['categories'].append(dict(id=77, name='NaN', info=['xNaN', 'Infinity ('])))
    preflight.check(cfg, ('train', ))
    path.write_text(path.read_text().replace('"area": ', '"area": -Infinity, "was": ', 1))
    fails(cfg, 'has the number Infinity')


def test_classes_in_another_order(cfg):
    cfg.val_dataloader.dataset.metainfo.classes = ('box', 'disk', 'triangle', 'star', 'cross')
    fails(cfg, 'val_dataloader.dataset.metainfo.classes .* are not those of train_dataloader')
    cfg.val_dataloader.dataset.metainfo.classes = ('box', 'star')
    cfg.model.language_model = dict(type='BertModel')
    preflight.check(cfg, ('train', 'val'))


def test_categories_in_another_order(cfg, tmp_path):
    edit(tmp_path / 'set/annotations/instances_val2017.json', lambda c: c['categories'].reverse())
    fails(cfg, 'val2017.json has its categories in the order cross, star, .*classes has disk, box')


@pytest.mark.parametrize('key', ['classes', 'CLASSES'])
def test_recorded_classes(cfg, key):
    def check(classes, meta='dataset_meta'):
        preflight.check_recorded_classes(cfg, dict(meta={meta: {key: classes}}), 'a.pth')

    check(cfg.classes)
    check([name.upper() for name in cfg.classes])
    for other, words in ((('box', 'disk', *cfg.classes[2:]), 'such as disk for box'),
                         (cfg.classes[:4], 'trained on 4 .* fewer or more')):
        with pytest.raises(UserError, match=words):
            check(other)
        with pytest.raises(UserError, match=words):
            preflight.check_recorded_classes(cfg, dict(meta={key: other}), 'a.pth')
    for checkpoint in ({}, dict(meta=None), dict(meta=dict(epoch=3)), dict(meta=dict(dataset_meta={}))):
        preflight.check_recorded_classes(cfg, checkpoint, 'a.pth')


def test_the_way_to_the_recorded_classes_ends(cfg, tmp_path):
    def check():
        preflight.check(cfg, ('test', ))
        preflight.check_recorded_classes(cfg, dict(meta=dict(classes=recorded)), 'a.pth')

    def refused(words):
        with pytest.raises(UserError, match=words):
            check()

    recorded, path = [*cfg.classes], tmp_path / 'set/annotations/instances_val2017.json'
    edit(path, lambda c: c['categories'][0].update(name='disc'))
    refused('set test_dataloader.dataset.metainfo.classes to names from the file')
    cfg.test_dataloader.dataset.metainfo.classes = ['disc', *recorded[1:]]
    refused('such as disc for disk: .* rename the categories in .*val2017.json and set ')
    edit(path, lambda c: c['categories'][0].update(name='disk'))
    cfg.test_dataloader.dataset.metainfo.classes = recorded
    check()
    cfg.test_dataloader.dataset.metainfo.classes = recorded[1:]
    cfg.model.roi_head.bbox_head.num_classes = 4
    refused('only the names differ, set test_dataloader.dataset.metainfo.classes to the same')


@pytest.fixture
def imagenet(tmp_path, monkeypatch):
    """ImageNet's folders with a file in each, and the config of a network for them."""
    for split in ('train', 'val'):
        for number in range(1000):
            (tmp_path / split / f'n{number:08d}').mkdir(parents=True)
            (tmp_path / split / f'n{number:08d}' / 'a.JPEG').touch()
    monkeypatch.setenv('IMAGENET_ROOT', str(tmp_path))
    return Config.fromfile('configs/imagenet/dla_l50_8xb32_in1k.py')


def test_imagenet(imagenet, tmp_path):
    preflight.check(imagenet, ('train', 'val', 'test'))
    shutil.rmtree(tmp_path / 'val')
    (tmp_path / 'val').mkdir()
    fails(imagenet, 'train has n00000000, .* and 995 more, which .*val lacks')
    (tmp_path / 'meta').mkdir()
    (tmp_path / 'meta' / 'val.txt').write_text('a.JPEG 0')
    preflight.check(imagenet, ('train', 'val', 'test'))
    shutil.rmtree(tmp_path / 'train/n00000007')
    fails(imagenet, 'num_classes=1000 does not match the 999 class folders of .*train')


def test_a_class_without_pictures(imagenet, tmp_path):
    (tmp_path / 'val/n00000007/a.JPEG').unlink()
    preflight.check(imagenet, ('train', 'val'))
    (tmp_path / 'train/n00000007/a.JPEG').rename(tmp_path / 'train/n00000007/a.txt')
    fails(imagenet, 'no picture .* is in n00000007 of')
