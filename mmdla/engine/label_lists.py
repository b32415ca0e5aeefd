"""Checks of classification sets whose labels stand in a text file, ``PICTURE LABEL`` a line."""
from typing import Set

from mmengine.config import Config

from mmdla.engine.class_folders import labelled_dataset
from mmdla.engine.data_config import datasets_of
from mmdla.errors import UserError

FORMAT = 'write a picture\'s path, a space and the number of its class, from 0, in each line'


def check_label_lists(cfg: Config, splits) -> None:
    """Every label must be one of the head's classes, of which the data set must have as many names.

    Raises:
        UserError: If not.
    """
    for name, dataset in datasets_of(cfg, splits):
        listed = labelled_dataset(dataset, cfg)
        count = (cfg.model.get('head') or {}).get('num_classes')
        if listed is None or not listed.ann_file or count is None:
            continue
        highest = max(read_labels(listed.ann_file))
        if highest >= count:
            raise UserError(f'{listed.ann_file} has the label {highest}, and model.head.num_classes='
                            f'{count} has those from 0 to {count - 1}: set model.head.num_classes='
                            f'{highest + 1}, or number the labels from 0.')
        names = listed.CLASSES
        if names is not None and len(names) != count:
            raise UserError(f'{name} has the names of {len(names)} classes and model.head.num_classes='
                            f'{count}: set {name}.metainfo.classes to the {count} names, in the train, '
                            'val and test data sets alike.')
        if names is None and name.startswith('train') and highest + 1 < count:
            raise UserError(f'{listed.ann_file} has labels up to {highest} only and model.head.'
                            f'num_classes={count}: set it to {highest + 1}, or if the others are meant '
                            f'to be missing, name all in {name}.metainfo.classes.')


def read_labels(path: str) -> Set[int]:
    """The labels in a file.

    Raises:
        UserError: If it has none, or something else in the place of one.
    """
    with open(path) as file:
        found = {line.strip().rpartition(' ')[2]: number for number, line in enumerate(file, 1)}
    for text, number in found.items():
        if not text.isdecimal():
            raise UserError(f'line {number} of {path} has no label: {FORMAT}.')
    if not found:
        raise UserError(f'{path} is empty: {FORMAT}.')
    return {int(text) for text in found}
