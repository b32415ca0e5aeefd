"""What a config says of its data sets."""
import inspect
import os
import sys
from typing import Iterator, List, Optional, Tuple

from mmengine.config import Config
from mmengine.registry import DATASETS

from mmdla.errors import UserError


def inner_datasets(dataset: dict) -> Iterator[dict]:
    """The data sets inside wrappers such as RepeatDataset and ConcatDataset."""
    inner = dataset.get('datasets') or [dataset.get('dataset')]
    for child in inner:
        if child is None:
            yield dataset
        else:
            yield from inner_datasets(child)


def datasets_of(cfg: Config, splits) -> Iterator[Tuple[str, dict]]:
    """The innermost data sets of the splits, each with its name in the config."""
    for split in splits:
        for dataset in inner_datasets((cfg.get(f'{split}_dataloader') or {}).get('dataset') or {}):
            if dataset:
                yield f'{split}_dataloader.dataset', dataset


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


def prefixes(dataset: dict) -> dict:
    """The folders of a data set, below its root, by what is in them."""
    given = dataset.get('data_prefix')
    return {'': given} if isinstance(given, str) else given or {}


def image_folder(dataset: dict) -> Optional[str]:
    """The folder of a detector's images; None where it is not on this machine."""
    prefix, backend = prefixes(dataset).get('img'), dataset.get('backend_args') or {}
    folder = os.path.join(dataset.get('data_root') or '', prefix or '')
    local = '://' not in folder and backend.get('backend', 'local') == 'local'
    return folder if isinstance(prefix, str) and local else None


def type_name(config: dict) -> str:
    """Name of a config's ``type``, which may be a class too."""
    kind = config.get('type')
    return getattr(kind, '__name__', str(kind))


def source(dataset: dict) -> str:
    """What a person knows a data set by: its annotation file or its folder."""
    folder = next((p for p in prefixes(dataset).values() if isinstance(p, str)), '')
    root = dataset.get('data_root') or ''
    return annotation_file(dataset) or os.path.join(root, folder) or type_name(dataset)


def host_class(dataset: dict, cfg: Config) -> Optional[type]:
    kind, scope = dataset['type'], cfg.get('default_scope')
    if isinstance(kind, str):
        kind = DATASETS.get(kind if '.' in kind or not scope else f'{scope}.{kind}')
    return kind


def is_detection(kind: Optional[type]) -> bool:
    """Whether a class's labels are its classes in order: panoptic and other kinds count differently."""
    if 'mmdet.datasets' not in sys.modules:  # nor any of its classes: a classifier does not need it
        return False
    from mmdet.datasets import CocoDataset, CocoPanopticDataset
    return (inspect.isclass(kind) and issubclass(kind, CocoDataset)
            and not issubclass(kind, CocoPanopticDataset))


def is_coco(dataset: dict, cfg: Config) -> bool:
    """Whether a data set is a detector's with an annotation file on this machine, read as COCO's own.

    LVIS, for example, is not: its images have other fields.
    """
    kind = host_class(dataset, cfg)
    if not (annotation_file(dataset).endswith('.json') and is_detection(kind)):
        return False
    from mmdet.datasets import CocoDataset
    return all(getattr(kind, method) is getattr(CocoDataset, method)
               for method in ('load_data_list', 'parse_data_info'))


def class_names(dataset: dict, cfg: Config) -> Optional[List[str]]:
    """The classes of a detector's data set, in the order of their labels.

    None for another kind of data set, and where they are not known before it is loaded.
    """
    kind = host_class(dataset, cfg)
    if not is_detection(kind):
        return None
    classes = stated_classes(dataset)
    classes = kind.METAINFO.get('classes') if classes is None else classes
    return None if classes is None else list(classes)


def stated_classes(dataset: dict) -> Optional[List[str]]:
    """The classes that a data set's config names, itself or in a file; None where it names none.

    Raises:
        UserError: If they are one text that is no file.
    """
    key, classes = 'metainfo.classes', (dataset.get('metainfo') or {}).get('classes')
    if classes is None:
        key, classes = 'classes', dataset.get('classes')
    if isinstance(classes, str):
        if not os.path.isfile(os.path.expanduser(classes)):
            raise UserError(f'{key}={classes!r} is neither a tuple nor a file: a tuple of one class '
                            f'needs its comma, ({classes!r}, ).')
        with open(os.path.expanduser(classes)) as file:
            classes = [line.strip() for line in file if line.strip()]
    return None if classes is None else list(classes)


def loads_masks(dataset: dict) -> bool:
    return any(isinstance(step, dict) and type_name(step).endswith('LoadAnnotations')
               and step.get('with_mask') for step in dataset.get('pipeline') or [])


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
