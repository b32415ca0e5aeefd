"""Errors of the hosts' data sets, in words that name the file."""
import json
import os
import re
from contextlib import contextmanager
from typing import Iterator, Optional

import cv2
from mmengine.dataset import Compose
from mmengine.registry import DATASETS

from mmdla.engine.data_config import source, type_name
from mmdla.errors import RunError, UserError, reason

LISTS = 'add --check-data for a list of all that is wrong'
WORDS = (
    (json.JSONDecodeError, '', 'it is broken JSON ({})'),
    (ValueError, 'need at least one array', 'no image is left: none has an object of the classes in '
     'metainfo.classes, or all are smaller than filter_cfg.min_size'),
    (ValueError, r'values to unpack \(expected 4', 'a bbox has not four numbers'),
    (TypeError, 'not supported between', 'a bbox holds something else than numbers'),
    (KeyError, r"^'\w+'$", 'an image or annotation has no {}'),
    (AssertionError, 'are not unique', 'two annotations have the same id'),
)


def words(error: Exception) -> str:
    """What an error of a host means to someone who has a data set."""
    for kind, pattern, meaning in WORDS:
        if isinstance(error, kind) and re.search(pattern, str(error)):
            return meaning.format(error)
    return reason(error)


@contextmanager
def explained(dataset: dict) -> Iterator[None]:
    """Turn what goes wrong while the host loads a data set into a sentence.

    Args:
        dataset (dict): Its config.

    Raises:
        UserError: In place of an error of the host.
    """
    try:
        yield
    except UserError:
        raise
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if not (unknown and unknown[1] in dataset):
            raise cannot_load(dataset, error) from error
        raise UserError(f'{type_name(dataset)} of {source(dataset)} has no argument {unknown[1]}: take '
                        'it out, or where it comes from a base config, write the data set whole, '
                        f'dict(_delete_=True, type={type_name(dataset)!r}, ...).') from error
    except (ValueError, KeyError, AssertionError, RuntimeError, OSError,
            ImportError) as error:
        raise cannot_load(dataset, error) from error


def cannot_load(dataset: dict, error: Exception) -> UserError:
    return UserError(f'the data set of {source(dataset)} cannot be loaded, {words(error)}: mend it '
                     f'({LISTS}), or name another one.')


def load_dataset(dataset: dict):
    """Build a data set; what goes wrong there, and later with one of its images, names the file."""
    with explained(dataset):
        built = DATASETS.build(dataset)
        if hasattr(built, 'full_init'):
            built.full_init()
    if type(getattr(built, 'pipeline', None)) is Compose:
        built.pipeline = NamingPipeline(built.pipeline)
    return built


def named(dataset: dict) -> dict:
    """A data set's config, with wrappers, in which the innermost ones load by :func:`load_dataset`."""
    if not isinstance(dataset, dict):
        return dataset
    if dataset.get('datasets'):
        return {**dataset, 'datasets': [named(child) for child in dataset['datasets']]}
    if dataset.get('dataset'):
        return {**dataset, 'dataset': named(dataset['dataset'])}
    return dict(type=load_dataset, dataset=dataset)


class NamingPipeline(Compose):
    """A pipeline whose errors name the image."""

    def __init__(self, pipeline: Compose) -> None:
        self.transforms = pipeline.transforms

    def __call__(self, data: dict) -> Optional[dict]:
        image = data.get('img_path')
        for transform in self.transforms:
            try:
                data = transform(data)
            except UserError:
                raise
            except Exception as error:  # whatever kind a host, cv2 or the user's own transform raises
                raise RunError(f'image {image} cannot be prepared, {trouble(image, transform, error)}: '
                               f'mend or remove it ({LISTS}).') from error
            if data is None:
                return None
        return data


def trouble(image: str, transform, error: Exception) -> str:
    """What went wrong with an image, in words."""
    name = type(transform).__name__
    if isinstance(error, OSError) and error.strerror:
        return f'{name}: {error.strerror}'
    if name.startswith('LoadImage') and isinstance(error, (AssertionError, cv2.error)):
        return 'it is no whole picture' if os.path.getsize(image) else 'it is an empty file'
    if isinstance(error, cv2.error):
        return f'{name}: {error.func} fails with {error.err}'
    return f'{name}: {words(error) if isinstance(error, KeyError) else reason(error)}'
