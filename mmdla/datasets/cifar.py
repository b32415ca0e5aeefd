"""CIFAR-10 and CIFAR-100 in memory, served in whole batches."""
import os
import pickle
import tarfile
from typing import Dict, List, Optional

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mmdla.errors import UserError, choose
from mmdla.registry import DATASETS, FUNCTIONS


@FUNCTIONS.register_module()
def as_it_is(batch):
    """Collate function for data sets that serve whole batches."""
    return batch


@DATASETS.register_module()
class CIFAR(Dataset):
    """CIFAR in the layout of the official Python archives, unpacked or not.

    An item is ``dict(inputs=..., labels=...)``, images (3, 32, 32) uint8 in RGB order and a label
    from 0; PyTorch's loader asks for a batch of items at once and gets (N, 3, 32, 32) and (N, ),
    without any work per image. Augmentation and normalisation are
    :class:`mmdla.datasets.cifar_preprocessor.CIFARDataPreprocessor`'s, on the model's device.

    Checksums are not compared, so that a repacked copy (``tools/dev/pack_cifar100.py``) is read
    like the original.

    Args:
        data_root (str): Folder of ``cifar-100-python/`` or ``cifar-100-python.tar.gz``, for ten
            classes of ``cifar-10-batches-py/`` or ``cifar-10-python.tar.gz``.
        num_classes (int): 10 or 100.
        split (str): 'train' (50,000 images) or 'test' (10,000). To choose settings without the test
            images: 'train_10', every tenth of the train images, and 'train_90', the others.
        pipeline (list, optional): Not used here. mmpretrain's inferencer looks in the test set's
            config for how to prepare a picture.

    Raises:
        UserError: If the files are not there or hold something else.
    """

    sources = {
        10: ('cifar-10-batches-py', 'cifar-10-python.tar.gz', 'labels',
             dict(train=[f'data_batch_{i}' for i in range(1, 6)], test=['test_batch'])),
        100: ('cifar-100-python', 'cifar-100-python.tar.gz', 'fine_labels',
              dict(train=['train'], test=['test'])),
    }

    def __init__(self, data_root: str, num_classes: int, split: str,
                 pipeline: Optional[list] = None) -> None:
        names = self.check(data_root, num_classes, split)
        _, archive, key, _ = self.sources[num_classes]
        from mmpretrain.datasets import categories  # here, since it takes detectors' tools seconds
        self.metainfo = dict(classes=getattr(categories, f'CIFAR{num_classes}_CATEGORIES'))
        parts = read(data_root, archive, names)
        try:
            images = np.concatenate([part['data'] for part in parts]).reshape(-1, 3, 32, 32)
            labels = np.concatenate([part[key] for part in parts])
            if len(images) != len(labels) or not 0 <= labels.min() <= labels.max() < num_classes:
                raise ValueError(f'{len(images)} images, {len(labels)} labels')
            if images.dtype != np.uint8 or labels.dtype.kind not in 'iu':
                raise ValueError(f'images of {images.dtype}, labels of {labels.dtype}')
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f'{names[0]} in {data_root} is no CIFAR-{num_classes} file '
                            f'({type(error).__name__}: {error}): unpack the archive again.') from error
        tenth = np.arange(len(labels)) % 10 == 0
        chosen = {'train_10': tenth, 'train_90': ~tenth}.get(split, slice(None))
        self.images = torch.from_numpy(images[chosen])
        self.labels = torch.from_numpy(labels[chosen].astype(np.int64))

    @classmethod
    def check(cls, data_root: str, num_classes: int, split: str) -> List[str]:
        """Names of the split's files below ``data_root``, or a UserError where they are not there."""
        folder, archive, _, files = choose('num_classes', num_classes, cls.sources)
        files = dict(files, train_90=files['train'], train_10=files['train'])
        names = [f'{folder}/{name}' for name in choose('split', split, files)]
        if not unpacked(data_root, names) and not os.path.isfile(os.path.join(data_root, archive)):
            raise UserError(f'{os.path.join(data_root, names[0])} does not exist, and there is no '
                            f'{archive} either: download that from https://www.cs.toronto.edu/~kriz/'
                            'cifar.html to this folder, or set CIFAR_ROOT to the folder that has it.')
        return names

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Dict[str, Tensor]:
        return dict(inputs=self.images[index], labels=self.labels[index])

    __getitems__ = __getitem__


def unpacked(root: str, names: List[str]) -> bool:
    return all(os.path.isfile(os.path.join(root, name)) for name in names)


def read(root: str, archive: str, names: List[str]) -> List[dict]:
    """The files of a split, from the unpacked folder where it is there, else from the archive."""
    try:
        if unpacked(root, names):
            return [load(open(os.path.join(root, name), 'rb')) for name in names]
        with tarfile.open(os.path.join(root, archive)) as tar:
            return [load(tar.extractfile(name)) for name in names]
    except (OSError, EOFError, KeyError, tarfile.TarError, pickle.UnpicklingError) as error:
        raise UserError(f'CIFAR in {root} cannot be read ({type(error).__name__}: {error}): download '
                        f'{archive} again.') from error


class ArrayUnpickler(pickle.Unpickler):
    """Reads numpy arrays and plain Python values, and refuses everything else."""

    def find_class(self, module: str, name: str):
        if module.split('.')[0] in ('numpy', '_codecs') and name in (
                '_reconstruct', 'ndarray', 'dtype', 'encode'):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f'{module}.{name} in it is no array')


def load(file) -> dict:
    with file:
        return ArrayUnpickler(file, encoding='latin1').load()
