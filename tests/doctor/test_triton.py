"""The checks of the Triton operations, in Triton's interpreter, in a process of its own."""
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.skipif(find_spec('triton') is None, reason='triton is not installed')
START = """
import torch
from mmdla.doctor import checks
from mmdla.doctor.checks import Case, check
from mmdla.doctor.circumstances import check_large
from mmdla.doctor.operations import operations
checks.DRAWS = 1
CPU = torch.device('cpu')

def wrong(found):
    found = list(found)
    assert found and all(one.share is not None for one in found), found
    return [one.failure for one in found if one.failure]

on_maps = [one for one in operations() if checks.has_maps(one)]
"""
ALL = """
for layout, dtype in (('NCHW', torch.float32), ('NHWC', torch.bfloat16)):
    case = Case(dtype, layout, (2, 3, 4, 5))
    assert wrong(check(one, case, CPU, 'triton') for one in on_maps) == []
assert wrong(check_large('triton', CPU, 'NHWC', (3, 5, 2, 3))) == []
"""
FEW = """
case = Case(torch.float32, 'NHWC', (2, 3, 4, 5))
named = {one.name: one for one in on_maps}
assert wrong([check(named['add_relu_mean (both means)'], case, CPU, 'triton')]) == []
from mmdla.ops import triton_kernels
pair = triton_kernels.depthwise_pair
triton_kernels.depthwise_pair = lambda *args: pair(*args) * 1.001
found = check(named['light_attention (DLA-L, training)'], case, CPU, 'triton')
assert 'light_attention' in wrong([found])[0]
"""


@pytest.mark.parametrize('body', [FEW, pytest.param(ALL, marks=pytest.mark.full)], ids=['few', 'all'])
def test_in_the_interpreter(body, tmp_path):
    env = dict(os.environ, TRITON_INTERPRET='1', TRITON_CACHE_DIR=str(tmp_path))
    done = subprocess.run([sys.executable, '-c', START + body], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
