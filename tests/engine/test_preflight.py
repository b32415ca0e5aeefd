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
    fails(cfg, 'first image of .* does not exist')


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
    'mmpretrain::resnet/resnet50_8xb32_in1k.py', 'mmpretrain::resnet/resnet18_8xb16_cifar10.py'])
def test_the_hosts_own_configs_pass(name, monkeypatch):
    """With their data there: file checks answer yes, the class names are COCO's."""
    from mmdet.datasets import CocoDataset
    from mmengine.hub import get_config
    monkeypatch.setattr(preflight, 'check_exists', lambda *args: None)
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
    fails(cfg, 'nowhere.pth does not exist: pretrain it')
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
