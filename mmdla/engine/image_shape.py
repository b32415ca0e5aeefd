"""The size of the images that a config's network sees in a test."""
from typing import Optional, Tuple

from mmengine.config import Config

from mmdla.engine.data_config import datasets_of, type_name


def shape_in_tests(cfg: Config) -> Optional[Tuple[int, int]]:
    """Height and width after the test pipeline, of an image in landscape format, and padding.

    None where the pipeline leaves images as large as they are.
    """
    shape, divisor = None, 1
    for _, dataset in datasets_of(cfg, ('test', )):
        for step in dataset.get('pipeline') or ():
            shape = shape_after(step, shape)
            divisor = max(divisor, step.get('size_divisor') or 1)
        break
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    divisor = max(divisor, preprocessor.get('pad_size_divisor') or 1)
    return shape and tuple(-(-size // divisor) * divisor for size in shape)


def shape_after(step: dict, shape: Optional[Tuple[int, int]]) -> Optional[Tuple[int, int]]:
    """The shape after a step of a pipeline, of images with a shape ahead of it, or an unknown one."""
    kind = type_name(step).rpartition('.')[2]
    if kind.endswith('CenterCrop'):
        width, height = pair(step['crop_size'])
        return height, width
    if 'Resize' not in kind or not step.get('scale'):
        return shape
    width, height = pair(step['scale'])
    return (min(width, height), max(width, height)) if step.get('keep_ratio') else (height, width)


def pair(size) -> Tuple[int, int]:
    """Width and height, from both or one for both."""
    return (size, size) if isinstance(size, int) else tuple(size)
