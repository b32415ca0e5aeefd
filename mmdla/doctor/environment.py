"""What is installed, and which parts of it run."""
import os
import platform
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Dict, List, Optional

import torch
import torchvision

from mmdla import __version__
from mmdla.errors import reason
from mmdla.hosts import mmcv_ext
from mmdla.ops import tuned
from mmdla.ops.backend import kernels, library

HOSTS = ('mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'timm')
NEEDED = ('mmengine', 'mmcv')


def cpu_name() -> str:
    """The model of the processor, or its architecture where the system does not tell."""
    try:
        text = Path('/proc/cpuinfo').read_text()
    except OSError:
        text = ''
    match = re.search(r'model name\s*: (.*)', text)
    return match[1] if match else platform.processor() or platform.machine()


def host(name: str, problems: List[str]) -> Optional[str]:
    """Version of a package; None where it is not installed. What is wrong is added to ``problems``."""
    if find_spec(name) is None:
        if name in NEEDED:
            problems.append(f'{name} is not installed.')
        return None
    try:
        return import_module(name).__version__
    except Exception as error:
        problems.append(f'{name} cannot be imported ({reason(error)}).')
        return None


def cpu_kernels(problems: List[str]) -> str:
    """State of the C++ kernels: 'built', 'not built' or 'broken'."""
    if kernels() is not None:
        return 'built'
    if not os.path.exists(library()):
        return 'not built'
    problems.append(f'{library()} cannot be loaded: delete it and run python -m mmdla.ops.build.')
    return 'broken'


def gpus() -> List[str]:
    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [f'{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, compute capability {gpu.major}.{gpu.minor}'
            for gpu in found] if torch.cuda.is_available() else []


def environment() -> Dict[str, object]:
    """Names, versions and states; under 'problems' one sentence each."""
    problems: List[str] = []
    found: Dict[str, object] = dict(
        mmdla=__version__, python=platform.python_version(), system=platform.platform(terse=True),
        torch=torch.__version__, torchvision=torchvision.__version__,
        hosts={name: host(name, problems) for name in HOSTS},
        mmcv_operators='torchvision\'s, by mmdla' if mmcv_ext.register() else 'compiled',
        cpu=cpu_name(), instructions=torch.backends.cpu.get_cpu_capability(),
        threads=torch.get_num_threads(), cpu_kernels=cpu_kernels(problems), gpus=gpus(),
        cuda=torch.version.cuda, triton=tuned.triton_version(),
        triton_source=tuned.source(), mmdla_triton=os.environ.get('MMDLA_TRITON'))
    if found['triton'] is None and find_spec('triton') is not None:
        problems.append('triton is installed and cannot be imported.')
    return {**found, 'problems': problems}
