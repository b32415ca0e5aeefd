"""Checks of a config against the files it names, before any work starts."""
import json
import mmap
import os
import re
from typing import Iterator, List, Optional, Sequence

from mmengine.config import Config
from mmengine.registry import DATASETS

from mmdla.engine.pretrained import missing_start, some
from mmdla.errors import UserError


def check(cfg: Config, splits: Sequence[str]) -> None:
    """Check the data sets, evaluators, class counts and, for 'train', the backbone's start.

    Args:
        cfg (Config): A detection or classification config.
        splits (sequence of str): Of 'train', 'val' and 'test', those that the run uses.

    Raises:
        UserError: For the first thing that is wrong.
    """
    if 'train' in splits:
        check_start(cfg.model.get('backbone', {}).get('init_cfg'))
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        if loader is None:
            continue
        for dataset in leaves(loader['dataset']):
            check_dataset(f'{split}_dataloader.dataset', dataset, cfg)
        evaluators = cfg.get(f'{split}_evaluator') or []
        for evaluator in [evaluators] if isinstance(evaluators, dict) else evaluators:
            if evaluator.get('ann_file'):
                check_exists(f'{split}_evaluator.ann_file', evaluator['ann_file'], os.path.isfile)


def check_start(init_cfg) -> None:
    for cfg in [init_cfg] if isinstance(init_cfg, dict) else init_cfg or []:
        filename = cfg.get('checkpoint', '') if cfg['type'] == 'Pretrained' else ''
        if filename and '://' not in filename and not os.path.isfile(filename):
            raise missing_start(filename)


def leaves(dataset: dict) -> Iterator[dict]:
    """The data sets inside wrappers such as RepeatDataset and ConcatDataset."""
    inner = dataset.get('datasets') or [dataset.get('dataset')]
    for child in inner:
        if child is None:
            yield dataset
        else:
            yield from leaves(child)


def check_exists(name: str, path: str, exists=os.path.exists) -> None:
    if '://' not in path and not exists(path):
        raise UserError(f'{name}: {path} does not exist: put the data there or name another place '
                        '(see "Data" in the README).')


def check_dataset(name: str, dataset: dict, cfg: Config) -> None:
    root = dataset.get('data_root') or ''
    ann_file = os.path.join(root, dataset.get('ann_file') or '')
    if dataset.get('ann_file'):
        check_exists(f'{name}.ann_file', ann_file, os.path.isfile)
    elif root:
        check_exists(f'{name}.data_root', root, os.path.isdir)
    for prefix in (dataset.get('data_prefix') or {}).values() if isinstance(
            dataset.get('data_prefix'), dict) else ():
        check_exists(f'{name}.data_prefix', os.path.join(root, prefix), os.path.isdir)
    classes = class_names(dataset, cfg)
    if classes is None:
        return
    if ann_file.endswith('.json') and '://' not in ann_file:
        present = coco_categories(ann_file)
        absent = [c for c in classes if c not in present]
        if absent:
            raise UserError(
                f'{name}: {len(absent)} of its {len(classes)} classes are not in {ann_file} '
                f'({some(absent)}), which has {some(present, 20)}: set {name}.metainfo.classes to '
                'names from the file, in the train, val and test data sets alike.')
    for key, count in num_classes(cfg.model):
        if count != len(classes):
            raise UserError(
                f'{key}={count} does not match the {len(classes)} classes of {name} '
                f'({some(list(classes))}): set {key}={len(classes)}.')


def class_names(dataset: dict, cfg: Config) -> Optional[Sequence[str]]:
    classes = (dataset.get('metainfo') or {}).get('classes')
    if classes is not None:
        return (classes, ) if isinstance(classes, str) else classes
    kind, scope = dataset['type'], cfg.get('default_scope')
    if isinstance(kind, str):
        kind = DATASETS.get(kind if '.' in kind or not scope else f'{scope}.{kind}')
    return getattr(kind, 'METAINFO', {}).get('classes')


def num_classes(model, key: str = 'model') -> Iterator[tuple]:
    """All ``num_classes`` of a model config, with their names in it."""
    items = model.items() if isinstance(model, dict) else enumerate(model)
    for name, value in items:
        if name == 'num_classes':
            yield f'{key}.{name}', value
        elif isinstance(value, (dict, list, tuple)):
            yield from num_classes(value, f'{key}.{name}')


def coco_categories(ann_file: str) -> List[str]:
    """Category names of a COCO annotation file, without parsing the rest of it."""
    try:
        with open(ann_file, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as m:
            start = re.search(rb'"categories"\s*:\s*(?=\[)', m).end()
            size = 2**16
            while True:
                try:
                    text = m[start:start + size].decode(errors='ignore')
                    return [category['name'] for category in json.JSONDecoder().raw_decode(text)[0]]
                except json.JSONDecodeError:
                    if start + size >= len(m):
                        raise
                    size *= 8
    except (ValueError, AttributeError, KeyError, TypeError, OSError) as error:
        raise UserError(f'{ann_file} is no COCO annotation file with categories: write it again '
                        'or name another one.') from error
