"""Checks of data sets in which each folder is a class: labels count the folders in their order."""
import inspect
import os
import sys
from typing import List, Optional

from mmengine.config import Config

from mmdla.engine.data_config import datasets_of, host_class, stated_classes
from mmdla.engine.data_errors import explained
from mmdla.errors import UserError
from mmdla.pretrained import shorten

WAY_TO_NAME = ('set {}.metainfo.classes to the names of the {} folders, in the train, val and test data '
               'sets alike')


def labelled_dataset(dataset: dict, cfg: Config):
    """mmpretrain's data set of folders or of a list of labels, with nothing read yet; else None.

    It says by its host's rules where they are.

    Raises:
        UserError: If it cannot be built.
    """
    kind = host_class(dataset, cfg)
    custom = sys.modules.get('mmpretrain.datasets.custom')  # imported where a class is one of its
    if custom is None or not inspect.isclass(kind) or not issubclass(kind, custom.CustomDataset):
        return None
    arguments = {key: value for key, value in dataset.items() if key not in ('type', '_scope_')}
    stated_classes(dataset)
    with explained(dataset):
        lazy = kind(**{**arguments, 'pipeline': (), 'lazy_init': True})
    local = '://' not in lazy.img_prefix and '://' not in lazy.ann_file
    return lazy if local and lazy.with_label else None


def lazy_dataset(dataset: dict, cfg: Config):
    """As :func:`labelled_dataset`, if folders are the classes; else None."""
    lazy = labelled_dataset(dataset, cfg)
    return None if lazy is None or lazy.ann_file else lazy


def folders_of(lazy) -> List[str]:
    """Names of the class folders in the order of their labels."""
    try:
        return sorted(entry.name for entry in os.scandir(lazy.img_prefix) if entry.is_dir())
    except OSError as error:
        raise UserError(f'{lazy.img_prefix} cannot be listed ({error.strerror}): name the folder that '
                        'has a folder for each class.') from error


def has_picture(lazy, folder: str) -> bool:
    walk = os.walk(os.path.join(lazy.img_prefix, folder), followlinks=True)
    return any(lazy.is_valid_file(file) for _, _, files in walk for file in files)


def recorded_names(dataset: dict, cfg: Config) -> Optional[List[str]]:
    """The names that training on a data set records for its labels; None if it has no folders."""
    lazy = lazy_dataset(dataset, cfg)
    return None if lazy is None else list(lazy.CLASSES or folders_of(lazy))


def check_class_folders(cfg: Config, splits) -> None:
    """The same folders in all splits, as many as the head has classes, none of them empty.

    Raises:
        UserError: If not.
    """
    first = None
    for name, dataset in datasets_of(cfg, splits):
        lazy = lazy_dataset(dataset, cfg)
        if lazy is None:
            continue
        folders = folders_of(lazy)
        if first is None:
            first = lazy.img_prefix, folders
        elif folders != first[1]:
            raise UserError(f'{name}: {different(lazy.img_prefix, folders, *first)}, and labels count '
                            'the folders: give both the same ones (one of val may be empty).')
        check_count(name, lazy, folders, cfg)
        check_names(name, lazy, folders)
        empty = [folder for folder in folders if not has_picture(lazy, folder)]
        if empty and (name.startswith('train') or len(empty) == len(folders)):
            raise UserError(f'{name}: no picture ({", ".join(sorted(lazy.extensions))}) is in '
                            f'{shorten(empty)} of {lazy.img_prefix}: put some there.')


def different(folder: str, names: List[str], first_folder: str, first_names: List[str]) -> str:
    """In which class folders one data set differs from the first."""
    parts = [
        f'{here} has {shorten(sorted(extra))}, which {there} lacks'
        for here, there, extra in (
            (folder, first_folder, set(names) - set(first_names)),
            (first_folder, folder, set(first_names) - set(names))) if extra
    ]
    return ', and '.join(parts)


def check_count(name: str, lazy, folders: List[str], cfg: Config) -> None:
    if not folders:
        raise UserError(f'{name}: {lazy.img_prefix} has no folders of classes: name the folder that '
                        'has them.')
    given = (cfg.model.get('head') or {}).get('num_classes', len(folders))
    if given != len(folders):
        way = (f'set model.head.num_classes={len(folders)}' if name.startswith('train') else
               'give it the folders that the model was trained on (one may be empty)')
        if len(lazy.CLASSES or folders) != len(folders) and name.startswith('train'):
            way += f' and {WAY_TO_NAME.format(name, len(folders))}'
        raise UserError(
            f'model.head.num_classes={given} does not match the {len(folders)} class folders of '
            f'{lazy.img_prefix} ({shorten(folders)}): {way}, or name another folder.')


def check_names(name: str, lazy, folders: List[str]) -> None:
    """Names of classes, where there are any beside the folders', must be in the folders' order."""
    names = list(lazy.CLASSES or folders)
    if len(names) != len(folders):
        raise UserError(f'{name} has the names of {len(names)} classes ({shorten(names)}) and '
                        f'{lazy.img_prefix} has {len(folders)} folders ({shorten(folders)}): '
                        f'{WAY_TO_NAME.format(name, len(folders))}.')
    wrong = [folder for own, folder in zip(names, folders) if own != folder and folder in names]
    if wrong:
        raise UserError(f'{name}.metainfo.classes has {wrong[0]} in another place than the folders of '
                        f'{lazy.img_prefix} ({shorten(folders)}), whose order gives the labels: bring '
                        'metainfo.classes into it, in the train, val and test data sets alike.')
