import logging
import os
import random
import runpy
import signal
import sys
import time
from functools import cache
from pathlib import Path
from types import SimpleNamespace

# first: settles how threads wait before torch is loaded, and registers operators before mmdet asks
import mmdla  # noqa: F401  isort: skip

import mmengine
import numpy as np
import pytest
import torch
from mmengine.utils import ManagerMixin

from mmdla.registry import MODELS

ROOT = Path(__file__).parents[1]
DATA_ROOTS = ('COCO_ROOT', 'MINI_ROOT', 'BCCD_ROOT', 'CIFAR_ROOT', 'IMAGENET_ROOT', 'MINI_SHAPES_ROOT')
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(ROOT / 'tools' / 'data'))
STARTED = time.monotonic()


def pytest_addoption(parser):
    parser.addoption('--minutes', type=float, help='skip the tests that have not begun by then')


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    minutes = item.config.getoption('minutes')
    if minutes is not None and time.monotonic() - STARTED >= 60 * minutes:
        pytest.skip(f'not begun within {minutes:g} minutes')


@pytest.fixture(scope='session', autouse=True)
def data_roots():
    """Where the caller's environment says that data sets are; only fixtures read it, no test does."""
    with pytest.MonkeyPatch.context() as patch:
        given = {name: os.environ.get(name) for name in DATA_ROOTS}
        for name in DATA_ROOTS:
            patch.delenv(name, raising=False)
        yield given


@pytest.fixture(scope='session', autouse=True)
def interruptible():
    """A shell's background jobs ignore Ctrl-C, and so would the processes that tests interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope='session', autouse=True)
def metafiles():
    """mmengine parses a host's hundred metafiles for each base of a config: here once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmengine.config.utils, 'load', cache(mmengine.config.utils.load))
        yield


@pytest.fixture(autouse=True)
def seed():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def quiet():
    """mmengine lists every parameter's initialisation where no log file is open."""
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)


def managers(cls=ManagerMixin):
    for manager in cls.__subclasses__():
        yield manager
        yield from managers(manager)


@pytest.fixture(autouse=True)
def fresh_instances():
    """No default scope, logger or visualizer of mmengine goes over from one test to the next."""
    yield
    for manager in managers():
        manager._instance_dict.clear()


@pytest.fixture
def fresh_registry():
    """What modules outside the package register is taken out again, and so are they."""
    before = set(MODELS.module_dict)
    yield
    for name, cls in list(MODELS.module_dict.items()):
        if name not in before and not cls.__module__.startswith('mmdla.'):
            del MODELS.module_dict[name]
            sys.modules.pop(cls.__module__, None)


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a tool in this process; exit status and output are those of a process of its own."""

    def run(tool, *args):
        monkeypatch.setattr(sys, 'argv', [str(tool), *map(str, args)])
        capsys.readouterr()
        code = 0
        try:
            runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
        except SystemExit as stop:
            code = stop.code or 0
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    return run


@pytest.fixture(scope='session')
def mini_root(tmp_path_factory):
    """A generated COCO-format set of a few images."""
    import make_mini_coco
    root = tmp_path_factory.mktemp('mini')
    for seed, (split, count) in enumerate((('train', 12), ('val', 6))):
        make_mini_coco.make_split(root, split, count, (320, 240), seed)
    return root


@pytest.fixture(scope='session')
def coco_root(data_roots):
    """COCO 2017 or a part of it, from COCO_ROOT or data/coco."""
    root = Path(data_roots['COCO_ROOT'] or ROOT / 'data' / 'coco')
    if not (root / 'annotations' / 'instances_val2017.json').is_file():
        pytest.skip(f'no COCO 2017 in {root}: set COCO_ROOT to run the tests on real images')
    return root


@pytest.fixture(scope='session')
def cifar_root(data_roots):
    """CIFAR-100 in the official layout, from CIFAR_ROOT or data/cifar."""
    root = Path(data_roots['CIFAR_ROOT'] or ROOT / 'data' / 'cifar')
    if not (root / 'cifar-100-python').is_dir() and not (root / 'cifar-100-python.tar.gz').is_file():
        pytest.skip(f'no CIFAR-100 in {root}: set CIFAR_ROOT to run the tests on real images')
    return root
