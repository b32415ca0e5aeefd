"""How the Triton kernels cut maps and where they start, in Triton's interpreter, in an own process."""
import contextlib
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

pytestmark = pytest.mark.skipif(find_spec('triton') is None, reason='triton is not installed')


def test_in_own_process(tmp_path):
    command = [sys.executable, '-m', 'pytest', '--noconftest', '-q', '-p', 'no:cacheprovider',
               '-o', 'python_functions=check_*', __file__]
    env = dict(os.environ, TRITON_INTERPRET='1', TRITON_CACHE_DIR=str(tmp_path))
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


@pytest.mark.parametrize('nhwc', [False, True])
def check_elements_beyond_32_bits_are_found(nhwc):
    """Offsets and parts of maps of 3 x 4 x 2^30 elements, which nobody stores."""
    from probe import probe
    channels, positions, span = 4, 2**30, 2**29
    strides = (1, channels) if nhwc else (positions, 1)
    offsets, parts = torch.zeros(6, 4, 2, dtype=torch.int64), torch.zeros(6, dtype=torch.int64)
    probe[6, ](offsets, parts, channels, positions, *strides, SPAN=span, BLOCK_C=4, BLOCK_P=2)
    assert parts.tolist() == [part * 2**30 for part in range(6)]
    assert offsets.tolist() == [
        [[sample * channels * positions + c * strides[0] + (first + p) * strides[1] for p in range(2)]
         for c in range(4)] for sample in range(3) for first in (0, span)]


@pytest.mark.parametrize('fmt', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('loop', [False, True])
@pytest.mark.parametrize('shape', [(2, 3, 5, 7), (1, 256, 56, 56), (1, 100, 7, 7), (3, 40, 200, 1)])
def check_tiles_cover_maps_once(shape, loop, fmt):
    from mmdla.ops.triton_kernels.tiling import LOOP_TILE, TILE, tiling_of
    batch, channels, height, width = shape
    cut = tiling_of(torch.empty(shape, device='meta').to(memory_format=fmt), loop)
    block_c, block_p, span = (cut.sizes[name] for name in ('BLOCK_C', 'BLOCK_P', 'SPAN'))
    assert block_c * block_p <= (LOOP_TILE if loop else TILE) and span % block_p == 0
    assert (cut.parts - 1) * span < height * width <= cut.parts * span
    blocks = cut.programs // batch // cut.parts
    assert (blocks - 1) * block_c < channels <= blocks * block_c


def check_programs_start_on_the_device_of_their_tensors(monkeypatch):
    """Of the first argument that is one, whatever device is current."""
    from mmdla.ops.triton_kernels.tiling import tiling_of
    current, started = [], []

    @contextlib.contextmanager
    def device_of(tensor):
        current.append(tensor)
        yield
        current.pop()

    class Kernel:
        def __getitem__(self, grid):
            return lambda *args, **flags: started.append((grid, current[-1]))

    monkeypatch.setattr(torch.cuda, 'device_of', device_of)
    x = torch.zeros(2, 64, 4, 4)
    tiling_of(x).launch(Kernel(), None, x, 1)
    (grid, device), = started
    assert device is x and grid == (2, ) and not current
