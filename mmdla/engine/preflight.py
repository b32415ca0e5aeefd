"""Checks of a config against the files it names, before any work starts."""
import inspect
import json
import mmap
import os
import re
from typing import Iterator, List, Optional, Sequence

from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS

from mmdla.datasets import CIFAR
from mmdla.errors import UserError
from mmdla.pretrained import missing_start, shorten
from mmdla.trunks.trunk import Trunk


def check(cfg: Config, splits: Sequence[str]) -> None:
    """Check the data sets, evaluators, class counts and, for 'train', the backbone's start.

    Args:
        cfg (Config): A detection or classification config.
        splits (sequence of str): Of 'train', 'val' and 'test', those that the run uses.

    Raises:
        UserError: For the first thing that is wrong.
    """
    if 'train' in splits:
        check_start(cfg.model.get('backbone') or {})
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        if loader is None:
            continue
        evaluators = cfg.get(f'{split}_evaluator') or []
        evaluators = [evaluators] if isinstance(evaluators, dict) else evaluators
        for dataset in inner_datasets(loader['dataset']):
            if dataset is not loader['dataset'] and host_class(dataset, cfg) is CIFAR:
                raise UserError(f'{split}_dataloader.dataset: CIFAR serves whole batches and cannot '
                                f'stand in a {loader["dataset"]["type"]}: use it directly.')
            check_dataset(f'{split}_dataloader.dataset', dataset, cfg)
            for evaluator in evaluators:
                check_evaluator(f'{split}_evaluator', evaluator, dataset)


def check_start(backbone: dict) -> None:
    init_cfg = backbone.get('init_cfg')
    for cfg in [init_cfg] if isinstance(init_cfg, dict) else init_cfg or []:
        filename = cfg.get('checkpoint') or ''
        if filename and '://' not in filename and not os.path.isfile(filename):
            trunk = MODELS.build({**backbone, 'init_cfg': None})
            raise missing_start(filename, isinstance(trunk, Trunk) and trunk.can_start_plain)


def inner_datasets(dataset: dict) -> Iterator[dict]:
    """The data sets inside wrappers such as RepeatDataset and ConcatDataset."""
    inner = dataset.get('datasets') or [dataset.get('dataset')]
    for child in inner:
        if child is None:
            yield dataset
        else:
            yield from inner_datasets(child)


def is_local_path(path) -> bool:
    return isinstance(path, str) and path != '' and '://' not in path


def check_exists(name: str, path: str, exists) -> None:
    if is_local_path(path) and not exists(path):
        raise UserError(f'{name}: {path} does not exist: put the data there or name another place '
                        '(see "Data" in the README).')


def annotation_file(dataset: dict) -> str:
    """Path of the annotation file; empty where there is none or it is not one local file."""
    ann_file = dataset.get('ann_file')
    path = os.path.join(dataset.get('data_root') or '', ann_file) if is_local_path(ann_file) else ''
    return path if is_local_path(path) else ''


def check_dataset(name: str, dataset: dict, cfg: Config) -> None:
    root, ann_file, kind = dataset.get('data_root') or '', annotation_file(dataset), host_class(
        dataset, cfg)
    if kind is CIFAR:
        check_cifar(name, dataset, cfg)
    downloads = kind is not None and 'download' in inspect.signature(kind.__init__).parameters
    if not downloads:
        check_exists(f'{name}.ann_file', ann_file, os.path.isfile)
        check_exists(f'{name}.data_root', root, os.path.isdir)
    prefixes = dataset.get('data_prefix')
    prefixes = {'': prefixes} if isinstance(prefixes, str) else prefixes or {}
    for prefix in prefixes.values():
        if is_local_path(prefix):
            check_exists(f'{name}.data_prefix', os.path.join(root, prefix), os.path.isdir)
    if not ann_file.endswith('.json') or not is_detection(kind):
        return
    classes = class_names(dataset, kind)
    check_classes(name, classes, ann_file)
    if is_local_path(prefixes.get('img')):
        image = os.path.join(root, prefixes['img'], first_image(ann_file))
        check_exists(f'{name}.data_prefix (first image of {ann_file})', image, os.path.isfile)
    for key, count in num_classes(cfg.model):
        if count != len(classes):
            raise UserError(
                f'{key}={count} does not match the {len(classes)} classes of {name} '
                f'({shorten(classes)}): set {key}={len(classes)}.')


def check_cifar(name: str, dataset: dict, cfg: Config) -> None:
    count = dataset.get('num_classes')
    CIFAR.check(dataset.get('data_root') or '', count, dataset.get('split'))
    given = (cfg.model.get('head') or {}).get('num_classes', count)
    if given != count:
        raise UserError(f'model.head.num_classes={given} does not match the {count} classes of '
                        f'{name}: set model.head.num_classes={count}.')


def check_evaluator(name: str, evaluator: dict, dataset: dict) -> None:
    """The evaluator's annotations must be of the images that it will get."""
    given, own = evaluator.get('ann_file') or '', annotation_file(dataset)
    check_exists(f'{name}.ann_file', given, os.path.isfile)
    if all(path.endswith('.json') and os.path.isfile(path) for path in (given, own)):
        image = first_image(own)
        with mmap_file(given) as content:
            if content.find(json.dumps(image).encode()) < 0:
                raise UserError(f'{name}.ann_file: {given} is of other images than the data set\'s '
                                f'{own} (it lacks {image}): set it to the same file.')


def check_classes(name: str, classes: Sequence[str], ann_file: str) -> None:
    present = coco_categories(ann_file)
    absent = [c for c in classes if c not in present]
    if absent:
        raise UserError(
            f'{name}: {len(absent)} of its {len(classes)} classes are not in {ann_file} '
            f'({shorten(absent)}), which has {shorten(present, 20)}: set {name}.metainfo.classes to '
            'names from the file, in the train, val and test data sets alike.')


def host_class(dataset: dict, cfg: Config) -> Optional[type]:
    kind, scope = dataset['type'], cfg.get('default_scope')
    if isinstance(kind, str):
        kind = DATASETS.get(kind if '.' in kind or not scope else f'{scope}.{kind}')
    return kind


def is_detection(kind: Optional[type]) -> bool:
    """Whether a class reads plain COCO instances: panoptic and other kinds count differently."""
    from mmdet.datasets import CocoDataset, CocoPanopticDataset
    return (inspect.isclass(kind) and issubclass(kind, CocoDataset)
            and not issubclass(kind, CocoPanopticDataset))


def class_names(dataset: dict, kind: type) -> List[str]:
    classes = (dataset.get('metainfo') or {}).get('classes', kind.METAINFO.get('classes', ()))
    if isinstance(classes, str):
        check_exists('metainfo.classes', classes, os.path.isfile)
        with open(classes) as file:
            classes = [line.strip() for line in file if line.strip()]
    return list(classes)


def num_classes(model: dict) -> Iterator[tuple]:
    """``num_classes`` of a detector's box and mask heads, with their names in the config."""
    if model.get('language_model'):
        return
    for parent, config in (('model', model), ('model.roi_head', model.get('roi_head') or {})):
        for part in ('bbox_head', 'mask_head'):
            head = config.get(part) or {}
            for index, one in enumerate([head] if isinstance(head, dict) else head):
                if 'num_classes' in one:
                    position = '' if isinstance(head, dict) else f'.{index}'
                    yield f'{parent}.{part}{position}.num_classes', one['num_classes']


def mmap_file(path: str) -> mmap.mmap:
    with open(path, 'rb') as file:
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise unreadable(path) from error


def unreadable(path: str) -> UserError:
    return UserError(f'{path} is no whole COCO annotation file with categories and images: write it '
                     'again or name another one.')


def coco_categories(ann_file: str) -> List[str]:
    """Category names of a COCO annotation file, without parsing the rest of it."""
    with mmap_file(ann_file) as content:
        try:
            if content[-20:].rstrip()[-1:] != b'}':
                raise ValueError('cut off')
            start = re.search(rb'"categories"\s*:\s*(?=\[)', content).end()
            size = 2**16
            while True:
                try:
                    text = content[start:start + size].decode(errors='ignore')
                    return [category['name'] for category in json.JSONDecoder().raw_decode(text)[0]]
                except json.JSONDecodeError:
                    if start + size >= len(content):
                        raise
                    size *= 8
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise unreadable(ann_file) from error


def first_image(ann_file: str) -> str:
    """File name of the first image of a COCO annotation file."""
    with mmap_file(ann_file) as content:
        images = re.search(rb'"images"\s*:\s*\[\s*\{', content)
        name = images and re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")').search(
            content, images.end())
        if not name:
            raise unreadable(ann_file)
        return json.loads(name[1])
