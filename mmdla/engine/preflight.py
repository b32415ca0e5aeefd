"""Checks of a config against the files it names, before any work starts."""
import inspect
import os
from typing import List, Optional, Sequence

from mmengine.config import Config
from mmengine.registry import MODELS

from mmdla.datasets import CIFAR
from mmdla.engine import cli
from mmdla.engine.check_data import check_data
from mmdla.engine.class_folders import check_class_folders, lazy_dataset, recorded_names
from mmdla.engine.coco_file import (
    check_finite,
    check_masks,
    coco_categories,
    first_image,
    has_annotations,
    image_names,
    unique_columns,
)
from mmdla.engine.data_config import (
    annotation_file,
    check_exists,
    class_names,
    datasets_of,
    host_class,
    image_folder,
    is_coco,
    is_local_path,
    loads_masks,
    num_classes,
    prefixes,
    type_name,
)
from mmdla.engine.label_lists import check_label_lists
from mmdla.engine.schedules import check_schedules
from mmdla.errors import UserError
from mmdla.pretrained import missing_start, shorten
from mmdla.trunks.trunk import Trunk

# the hosts' constructors with a rate of their own for each layer; mmpretrain's reads decay_mult alone
UNREAD = {
    'LearningRateDecayOptimizerConstructor': ('lr_mult', 'decay_mult'),
    'LearningRateDecayOptimWrapperConstructor': ('lr_mult', ),
}


def check(cfg: Config, splits: Sequence[str], whole_data: bool = False) -> None:
    """Check the data sets, evaluators, class counts and, for 'train', the backbone's start and rates.

    Args:
        cfg (Config): A detection or classification config.
        splits (sequence of str): Of 'train', 'val' and 'test', those that the run uses.
        whole_data (bool): Whether to open every image and annotation too.

    Raises:
        UserError: For the first thing that is wrong.
    """
    if 'train' in splits:
        check_start(cfg.model.get('backbone') or {})
        check_constructor(cfg.get('optim_wrapper'))
        check_one_hot(cfg)
        check_schedules(cfg)
    datasets = list(datasets_of(cfg, splits))
    for name, dataset in datasets:
        split = name.split('_')[0]
        outer = cfg[f'{split}_dataloader']['dataset']
        if dataset is not outer and host_class(dataset, cfg) is CIFAR:
            raise UserError(f'{name}: CIFAR serves whole batches and cannot stand in a '
                            f'{type_name(outer)}: use it directly.')
        check_dataset(name, dataset, cfg)
        for evaluator in evaluators_of(cfg, split):
            check_evaluator(f'{split}_evaluator', evaluator, dataset, cfg)
    check_class_folders(cfg, splits)
    check_label_lists(cfg, splits)
    check_same_classes(cfg, splits)
    if whole_data and cli.rank(cfg.get('launcher', 'none')) == 0:
        check_data(cfg, splits)
    for name, dataset in datasets:
        if is_coco(dataset, cfg):
            check_coco(name, dataset, cfg)


def evaluators_of(cfg: Config, split: str) -> List[dict]:
    evaluators = cfg.get(f'{split}_evaluator') or []
    return [evaluators] if isinstance(evaluators, dict) else evaluators


def check_start(backbone: dict) -> None:
    init_cfg = backbone.get('init_cfg')
    for cfg in [init_cfg] if isinstance(init_cfg, dict) else init_cfg or []:
        filename = cfg.get('checkpoint') or ''
        if filename and '://' not in filename and not os.path.isfile(filename):
            trunk = MODELS.build({**backbone, 'init_cfg': None})
            raise missing_start(filename, isinstance(trunk, Trunk) and trunk.can_start_plain)


def check_constructor(optim_wrapper: Optional[dict]) -> None:
    """A rate for layer attention must be one that the optimizer's constructor reads."""
    given = optim_wrapper if isinstance(optim_wrapper, dict) else {}
    name = type_name(dict(type=given.get('constructor'))).rpartition('.')[-1]
    keys = (given.get('paramwise_cfg') or {}).get('custom_keys') or {}
    for key, settings in keys.items():
        unread = [setting for setting in UNREAD.get(name, ()) if setting in settings]
        if key.startswith('backbone.attention') and unread:
            raise UserError(
                f'optim_wrapper.constructor={name} does not read {" and ".join(unread)} of '
                f'paramwise_cfg.custom_keys, which has {key!r}: set optim_wrapper.constructor='
                '\'DefaultOptimWrapperConstructor\', which reads it and has no rates by layer, or take '
                'the key out.')


def check_one_hot(cfg: Config) -> None:
    """Labels as vectors, which Mixup and the like need, must have the length of the head's outputs."""
    key = 'model.data_preprocessor' if cfg.model.get('data_preprocessor') else 'data_preprocessor'
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    augments = (cfg.model.get('train_cfg') or {}).get('augments') or preprocessor.get('batch_augments')
    count = (cfg.model.get('head') or {}).get('num_classes')
    if count is None or not (augments or preprocessor.get('to_onehot')):
        return
    if preprocessor.get('num_classes') != count:
        raise UserError(f'{key}.num_classes={preprocessor.get("num_classes")} and '
                        f'model.head.num_classes={count} differ, and '
                        f'{"model.train_cfg.augments" if augments else key} needs them to be the same: '
                        f'set {key}.num_classes={count}.')


def check_dataset(name: str, dataset: dict, cfg: Config) -> None:
    root, ann_file, kind = dataset.get('data_root') or '', annotation_file(dataset), host_class(
        dataset, cfg)
    if kind is CIFAR:
        check_cifar(name, dataset, cfg)
    downloads = kind is not None and 'download' in inspect.signature(kind.__init__).parameters
    if not downloads:
        check_exists(f'{name}.ann_file', ann_file, os.path.isfile)
        check_exists(f'{name}.data_root', root, os.path.isdir)
    for prefix in prefixes(dataset).values():
        if is_local_path(prefix):
            check_exists(f'{name}.data_prefix', os.path.join(root, prefix), os.path.isdir)
    classes = class_names(dataset, cfg)
    if classes is None:
        return
    if is_coco(dataset, cfg):
        check_classes(name, classes, ann_file)
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


def check_evaluator(name: str, evaluator: dict, dataset: dict, cfg: Config) -> None:
    """The evaluator's annotations must be of the images that it will get."""
    given, own = evaluator.get('ann_file') or '', annotation_file(dataset)
    check_exists(f'{name}.ann_file', given, os.path.isfile)
    if is_coco(dataset, cfg) and given.endswith('.json') and os.path.isfile(given):
        image = first_image(own)
        if image not in image_names(given):
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


def check_same_classes(cfg: Config, splits: Sequence[str]) -> None:
    """Detectors' data sets must have the same classes in the same order, unless they are prompts."""
    if cfg.model.get('language_model'):
        return
    first = None
    for name, dataset in datasets_of(cfg, splits):
        classes = class_names(dataset, cfg)
        if classes is None:
            continue
        first = first or (name, classes)
        if classes != first[1]:
            raise UserError(
                f'{name}.metainfo.classes ({shorten(classes)}) are not those of {first[0]} '
                f'({shorten(first[1])}), or in another order: set both to the same.')


def check_coco(name: str, dataset: dict, cfg: Config) -> None:
    """What is in an annotation file, as far as it can be seen in a second or two."""
    ann_file = annotation_file(dataset)
    if has_annotations(ann_file):
        check_finite(ann_file)
        if loads_masks(dataset):
            check_masks(ann_file)
    elif needs_annotations(name, dataset, cfg):
        raise UserError(f'{name}: {ann_file} has no annotations, so that there is nothing to learn or '
                        'to compare with: write it again or name another one.')
    check_order(name, class_names(dataset, cfg), ann_file)
    images, folder = image_names(ann_file), image_folder(dataset)
    if folder is not None:
        check_images(name, [os.path.join(folder, image) for image in images], ann_file)


def check_order(name: str, classes: Optional[List[str]], ann_file: str) -> None:
    """mmdet counts labels by the order of the file's categories, whatever that of the classes."""
    _, present = unique_columns(ann_file, 'categories', 'id', 'name')
    ordered = [c for c in present if c in (classes or ())]
    if ordered != (classes or []):
        raise UserError(
            f'{ann_file} has its categories in the order {shorten(ordered)}, by which labels count, and '
            f'{name}.metainfo.classes has {shorten(classes)}: bring the file into the order of the '
            'other files, and metainfo.classes into that of the files.')


def needs_annotations(name: str, dataset: dict, cfg: Config) -> bool:
    """Whether a run is for nothing where the data set's own file has no annotations."""
    split = name.split('_')[0]
    if split == 'train':
        return bool((dataset.get('filter_cfg') or {}).get('filter_empty_gt'))
    compared = [evaluator.get('ann_file') or annotation_file(dataset)
                for evaluator in evaluators_of(cfg, split) if not evaluator.get('format_only')]
    return any(is_local_path(file) and not has_annotations(file) for file in compared)


def check_images(name: str, images: List[str], ann_file: str) -> None:
    """Every image of an annotation file must be there."""
    there = {parent: files_in(parent) for parent in {os.path.dirname(image) for image in images}}
    missing = [image for image in images
               if os.path.basename(image) not in there[os.path.dirname(image)]]
    if missing:
        raise UserError(
            f'{name}: {missing[0]} does not exist ({len(missing)} of the {len(images)} images of '
            f'{ann_file} are missing): put them there, take them out of the file, or set '
            f'{name}.data_prefix to their folder.')


def files_in(folder: str) -> set:
    folder = folder or '.'
    return set(os.listdir(folder)) if os.path.isdir(folder) else set()


def known_classes(dataset: dict, cfg: Config) -> Optional[List[str]]:
    """The names of a data set's labels, where they are known before it is loaded."""
    classes = class_names(dataset, cfg)
    return recorded_names(dataset, cfg) if classes is None else classes


def recorded_classes(checkpoint) -> Optional[List[str]]:
    """The classes that a checkpoint was trained on: mmengine writes them to ``meta['dataset_meta']``."""
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    meta = meta.get('dataset_meta', meta) if isinstance(meta, dict) else None
    for key in ('classes', 'CLASSES'):
        if isinstance(meta, dict) and isinstance(meta.get(key), (list, tuple)):
            return list(meta[key])
    return None


def check_recorded_classes(cfg: Config, checkpoint, filename: str, split: str = 'test') -> None:
    """A data set's classes must be those that the checkpoint was trained on.

    Args:
        cfg (Config): Of the test, or of the run that goes on.
        checkpoint: What the file holds.
        filename (str): Of the checkpoint.
        split (str): Of the data set, 'train' or 'test'.

    Raises:
        UserError: If a name or the order differs, since labels would shift.
    """
    recorded = recorded_classes(checkpoint)
    if recorded is None or cfg.model.get('language_model'):
        return
    for name, dataset in datasets_of(cfg, (split, )):
        classes = known_classes(dataset, cfg)
        if classes is not None and lower(classes) != lower(recorded):
            other = [(a, b) for a, b in zip(classes, recorded) if lower([a]) != lower([b])]
            where = f'such as {other[0][0]} for {other[0][1]}' if other else 'fewer or more'
            use = 'test it' if split == 'test' else 'go on with it'
            raise UserError(
                f'{name} has {len(classes)} classes ({shorten(classes)}) and {filename} was trained on '
                f'{len(recorded)} ({shorten(recorded)}), {where}: {use} on a set of the same classes, '
                f'or if only the names differ, {way_to_rename(name, dataset, recorded, cfg)}.')


def way_to_rename(name: str, dataset: dict, recorded: List[str], cfg: Config) -> str:
    """What gives a data set the classes that a checkpoint was trained on."""
    lazy = lazy_dataset(dataset, cfg)
    if lazy is not None and not lazy.CLASSES:
        return 'rename its folders'
    setting = f'set {name}.metainfo.classes to the same'
    if is_coco(dataset, cfg):
        present = lower(coco_categories(annotation_file(dataset)))
        if [c for c in present if c in lower(recorded)] != lower(recorded):
            return f'rename the categories in {annotation_file(dataset)} and {setting}'
    return setting


def lower(names: Sequence[str]) -> List[str]:
    return [str(name).lower() for name in names]
