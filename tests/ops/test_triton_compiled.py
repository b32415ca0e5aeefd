"""The Triton kernels compiled ahead, for GPUs that need not be there: nothing runs.

Whether kernels are compiled or interpreted is settled when triton is first imported, so the ``check_``
functions run in a process of their own.
"""
import os
import random
import re
import subprocess
import sys
from collections import defaultdict
from importlib.util import find_spec

import pytest
import torch

pytestmark = pytest.mark.skipif(find_spec('triton') is None, reason='triton is not installed')

FORMATS = (torch.contiguous_format, torch.channels_last)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SHORT = [(80, torch.bfloat16, FORMATS[1])]
LONG = [(c, d, f) for c in (80, 90) for d in DTYPES for f in FORMATS if (c, d, f) not in SHORT]
KERNELS = {'add_relu_mean_kernel', 'add_relu_mean_grad_kernel', 'pair_kernel', 'pair_grad_kernel',
           'pair_sums_kernel', 'sum_kernel', 'sum_grad_kernel', 'fold_kernel', 'fold_grad_kernel'}


@pytest.mark.parametrize('marked', [pytest.param('not full', id='short'),
                                    pytest.param('full', id='long', marks=pytest.mark.full)])
def test_in_own_process(marked, tmp_path):
    command = [sys.executable, '-m', 'pytest', '--noconftest', '-q', '-p', 'no:cacheprovider',
               '-m', marked, '-o', 'python_functions=check_*', __file__]
    env = dict(os.environ, TRITON_INTERPRET='0', TRITON_CACHE_DIR=str(tmp_path))
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


class Driver:
    """Of a GPU with this compute capability, which nothing is loaded on."""

    def __init__(self, capability):
        from triton.backends.compiler import GPUTarget
        self.get_current_target = lambda: GPUTarget('cuda', capability, 32)
        self.get_current_device = lambda: self  # whose kernels are nobody else's
        self.get_current_stream = lambda device: 0


@pytest.fixture
def compile_for(monkeypatch):
    """Makes launches compile for a capability, into a dictionary of each kernel's variants."""
    import triton
    if tuple(map(int, triton.__version__.split('.')[:2])) < (3, 6):
        pytest.skip('written for the insides of Triton 3.6')
    from triton.runtime.jit import JITFunction
    run, compile_kernel = JITFunction.run, JITFunction._do_compile

    def prepare(capability, really=True):
        compiled = defaultdict(dict)

        def compile_only(kernel, key, *args):
            done = compile_kernel(kernel, key, *args) if really else None
            compiled[kernel.fn.__name__][key] = done
            return done

        triton.runtime.driver.set_active(Driver(capability))
        monkeypatch.setattr(JITFunction, '_do_compile', compile_only)
        monkeypatch.setattr(JITFunction, 'run', lambda kernel, *args, warmup, **kwargs:
                            run(kernel, *args, warmup=True, **kwargs))
        return compiled

    return prepare


def launch_all(shape, fmt, dtype):
    """Every kernel once, forward and backward, on maps (B, C, H, W) without memory."""
    from mmdla.ops import triton_kernels as ops

    def make(*shape):
        return torch.empty(shape, device='meta', requires_grad=True)

    batch, channels = shape[:2]
    maps = [make(*shape).to(dtype=dtype, memory_format=fmt) for _ in range(2)]
    weights = make(batch, 2, channels)
    bias, score, d = (make(batch, channels) for _ in range(3))
    value, excite, scale = make(channels, 1, 3, 3), make(channels, 1, 3, 3), make(channels)
    kernels = ops.fold(value, score, scale, d, excite)
    outs = [*ops.add_relu_mean(*maps, True), ops.depthwise_pair(*maps, *kernels, bias),
            ops.weighted_sum(weights, maps)]
    torch.autograd.grad(outs, [*maps, value, score, scale, d, excite, bias, weights], outs)


def code_of(compiled, name):
    """The stages of a kernel that was compiled once."""
    variant, = compiled[name].values()
    return variant.asm


def loop_of(ptx):
    """The only loop, from its label to the branch back there, and what is behind it."""
    before, _, behind = ptx.rpartition(' bra ')
    label, _, behind = behind.partition(';')
    return before[before.rindex(label.strip() + ':'):], behind


@pytest.mark.parametrize('capability, dtype, fmt',
                         SHORT + [pytest.param(*case, marks=pytest.mark.full) for case in LONG])
def check_every_kernel_compiles(capability, dtype, fmt, compile_for):
    """To code with 64-bit offsets, without atomics and with all numbers in registers."""
    compiled = compile_for(capability)
    launch_all((2, 256, 56, 56), fmt, dtype)
    assert compiled.keys() == KERNELS
    for name in KERNELS:
        code = code_of(compiled, name)
        offsets = re.findall(r'tt\.addptr .* : tensor<.*>, tensor<[0-9x]*(i\d+)>', code['ttir'])
        assert code['cubin'] and offsets and set(offsets) == {'i64'}
        assert 'atomic' not in code['ttir'] and '.local' not in code['ptx']
    # a loop over tiles only loads maps: kernels are loaded ahead of it, sums reduced behind it
    for name, loads in dict(pair_kernel=18, pair_grad_kernel=9, pair_sums_kernel=11).items():
        loop, behind = loop_of(code_of(compiled, name)['ptx'])
        assert 0 < loop.count('ld.global') <= (loads if fmt == FORMATS[1] else 2 * loads)
        assert 'shfl' not in loop and 'bar.sync' not in loop
    # for 32 channels by 512 positions of NHWC, 8 by 1024 of NCHW
    assert 0 < behind.count('shfl') <= 190 and 0 < behind.count('bar.sync') <= 94


@pytest.mark.parametrize('fmt, pairs, means, others', [(FORMATS[0], 2, 11, 9), (FORMATS[1], 5, 2, 2)])
def check_sizes_compile_few_variants(fmt, pairs, means, others, compile_for):
    """Of each kernel, in detection: the four stages for images of 50 random sizes."""
    compiled = compile_for(80, really=False)
    random.seed(0)
    sides = range(256, 1345, 32)
    for height, width in random.sample([(h, w) for h in sides for w in sides], 50):
        for stage in range(4):
            shape = 2, 256 << stage, height >> stage + 2, width >> stage + 2
            launch_all(shape, fmt, torch.bfloat16)
    expected = {name: pairs if name.startswith('pair') else others for name in KERNELS}
    expected['add_relu_mean_kernel'] = means
    expected['fold_kernel'] = expected['fold_grad_kernel'] = 1
    assert {name: len(variants) for name, variants in compiled.items()} == expected


def check_depths_and_batches_compile_few_variants(compile_for):
    """One for each number of maps that a launch takes, 8 at most, or 4 with gradients."""
    compiled = compile_for(80, really=False)
    from mmdla.ops import triton_kernels as ops
    for layers in range(1, 25):
        weights = torch.empty(2, layers, 64, device='meta', requires_grad=True)
        v = torch.empty(2, 64, 9, 9, device='meta', requires_grad=True)
        ops.weighted_sum(weights, [v] * layers).backward(v)
    for batch in range(9, 17):
        factors = (torch.empty(s, device='meta') for s in ((64, 1, 3, 3), (batch, 64), (64, )))
        ops.fold(*factors, None, None)
    found = {name: len(variants) for name, variants in compiled.items()}
    # 8 that start a sum and 8 that add to one
    assert found == dict(sum_kernel=8 + 8, sum_grad_kernel=4, fold_kernel=1)
