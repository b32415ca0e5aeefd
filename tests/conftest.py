import logging
import os
import sys
from pathlib import Path

import pytest
import torch

import mmdla  # noqa: F401  registers the operators before mmdet's models are imported

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(ROOT / 'tools' / 'data'))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def quiet():
    """mmengine lists every parameter's initialisation where no log file is open."""
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope='session')
def mini_root(tmp_path_factory):
    """A generated COCO-format set of a few images."""
    import make_mini_coco
    root = tmp_path_factory.mktemp('mini')
    for seed, (split, count) in enumerate((('train', 12), ('val', 6))):
        make_mini_coco.make_split(root, split, count, (320, 240), seed)
    return root


@pytest.fixture(scope='session')
def coco_root():
    """COCO 2017 or a part of it, from COCO_ROOT or data/coco."""
    root = Path(os.environ.get('COCO_ROOT', ROOT / 'data' / 'coco'))
    if not (root / 'annotations' / 'instances_val2017.json').is_file():
        pytest.skip(f'no COCO 2017 in {root}: set COCO_ROOT to run the tests on real images')
    return root
