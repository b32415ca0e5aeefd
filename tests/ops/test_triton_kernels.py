"""The Triton kernels against plain PyTorch.

Whether kernels are interpreted is settled when triton is first imported, which other tests do, so the
``check_`` functions run in processes of their own: in Triton's interpreter and, where there is one, on
a GPU. ``test_triton_compiled.py`` compiles them for GPUs that are not there.
"""
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
import torch.nn.functional as F

pytestmark = pytest.mark.skipif(find_spec('triton') is None, reason='triton is not installed')

DEVICE = 'cpu' if os.environ.get('TRITON_INTERPRET') == '1' else 'cuda'
# of the result's size, against float32 on the same rounded inputs: a few roundings to the dtype
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
SHAPES = ((2, 5, 7, 3), (1, 3, 1, 1), (2, 16, 4, 4), (3, 8, 1, 9))
FORMATS = (torch.contiguous_format, torch.channels_last)
# (shape, format, dtype, elements of a tile)
CASES = [(shape, fmt, torch.float32, 2048) for shape in SHAPES for fmt in FORMATS]
SPECIAL = [(SHAPES[0], fmt, dtype, 2048) for fmt in FORMATS
           for dtype in (torch.float64, torch.float16, torch.bfloat16)]
# several tiles of places, and of channels, none full
SPECIAL += [((2, 1, 3, 7), FORMATS[0], dtype, 8) for dtype in (torch.float32, torch.bfloat16)]
SPECIAL += [((1, 35, 5, 2), FORMATS[1], dtype, 128) for dtype in (torch.float32, torch.bfloat16)]


@pytest.mark.parametrize('interpret', [
    pytest.param('1', marks=pytest.mark.full),
    pytest.param('0', marks=pytest.mark.skipif(
        not torch.cuda.is_available(), reason='no GPU to run the kernels on')),
])
@pytest.mark.parametrize('select', ['add_relu_mean', 'pair', 'fold', 'weighted_sum', 'any', 'a_network'])
def test_values(select, interpret, tmp_path):
    command = [sys.executable, '-m', 'pytest', '--noconftest', '-q', '-p', 'no:cacheprovider',
               '-o', f'python_functions=check_values_of_{select}*', __file__]
    env = dict(os.environ, TRITON_INTERPRET=interpret, TRITON_CACHE_DIR=str(tmp_path))
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def ops():
    from mmdla.ops import triton_kernels
    return triton_kernels


def tiling():
    from mmdla.ops.triton_kernels import tiling
    return tiling


@pytest.fixture
def cut(monkeypatch):
    """Makes tiles as small as this, and programs with two of them."""
    def cut_to(size):
        for name, value in dict(TILE=size, LOOP_TILE=size, TURNS=2).items():
            monkeypatch.setattr(tiling(), name, value)
    return cut_to


def make(*shape, fmt=torch.contiguous_format, dtype=torch.float32):
    out = torch.randn(shape).to(DEVICE, dtype)
    return out.contiguous(memory_format=fmt).requires_grad_()


def wide(inputs):
    """The same numbers to compute the reference with."""
    return [None if i is None else
            i.detach().to(torch.promote_types(i.dtype, torch.float32)).requires_grad_() for i in inputs]


def compare(ours, reference, inputs, dtype):
    """Compare outputs, and gradients of all inputs for random gradients of all outputs."""
    given = wide(inputs)
    out, expected = ours(*inputs), reference(*given)
    for a, b in zip(out, expected):
        assert a.dtype == dtype
        close(a, b, dtype)
    inputs, given = ([i for i in group if i is not None] for group in (inputs, given))
    grads = [torch.randn_like(a) for a in out]
    actual = torch.autograd.grad(out, inputs, grads)
    wanted = torch.autograd.grad(expected, given, [g.to(e.dtype) for g, e in zip(grads, expected)])
    for i, a, b in zip(inputs, actual, wanted):
        assert a.dtype == i.dtype
        close(a, b, dtype)


def close(a, b, dtype):
    scale = max(1., b.abs().max().item())
    torch.testing.assert_close(
        a.to(b.dtype), b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale)


def plain_add_relu_mean(branch, shortcut):
    x = F.relu(branch + shortcut)
    return x, x.mean((2, 3)), shortcut.mean((2, 3))


@pytest.mark.parametrize('shape, fmt, dtype, size', CASES + SPECIAL)
def check_values_of_add_relu_mean(shape, fmt, dtype, size, cut):
    cut(size)
    torch.manual_seed(0)
    inputs = [make(*shape, fmt=fmt, dtype=dtype) for _ in range(2)]
    compare(lambda b, s: ops().add_relu_mean(b, s, True), plain_add_relu_mean, inputs, dtype)


def check_values_of_add_relu_mean_with_one_mean():
    torch.manual_seed(0)
    inputs = [make(2, 5, 7, 3) for _ in range(2)]
    assert ops().add_relu_mean(*inputs, False)[2] is None
    compare(lambda b, s: ops().add_relu_mean(b, s, False)[:2],
            lambda b, s: plain_add_relu_mean(b, s)[:2], inputs, torch.float32)


@pytest.mark.parametrize('used', [(0, ), (1, ), (2, ), (0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize('wanted', [(0, ), (1, ), (0, 1)])
def check_values_of_add_relu_mean_with_missing_gradients(used, wanted):
    torch.manual_seed(0)
    inputs = [make(2, 5, 7, 3) for _ in range(2)]
    for i, m in enumerate(inputs):
        m.requires_grad_(i in wanted)
    factors = [torch.randn_like(out) for out in plain_add_relu_mean(*inputs)]
    given = wide(inputs)
    total, reference = (sum((outs[i] * factors[i]).sum() for i in used)
                        for outs in (ops().add_relu_mean(*inputs, True), plain_add_relu_mean(*given)))
    if not total.requires_grad:  # the shortcut's means, of a shortcut that needs no gradient
        return
    total.backward()
    reference.backward()
    for i, (a, b) in enumerate(zip(inputs, given)):
        assert i in wanted or a.grad is None
        if i in wanted:
            close(a.grad, torch.zeros_like(a) if b.grad is None else b.grad, torch.float32)


def check_values_of_add_relu_mean_keep_nan():
    branch, shortcut = torch.zeros(2, 1, 2, 3, 3, device=DEVICE)
    branch[0, 0, 1, 1] = float('nan')
    x, y, _ = ops().add_relu_mean(branch, shortcut, False)
    assert x.isnan().sum() == 1 and x[0, 0, 1, 1].isnan()
    assert y.isnan().tolist() == [[True, False]]


def plain_pair(x, o, kernel_x, kernel_o, bias):
    """Sample by sample."""
    if kernel_o.shape[-1] == 1:
        kernel_o = F.pad(kernel_o, (4, 4))
    channels = x.shape[1]
    out = [F.conv2d(m[i:i + 1], k[i].to(m.dtype).view(-1, 1, 3, 3), padding=1, groups=channels)
           for m, k in ((x, kernel_x), (o, kernel_o)) for i in range(len(x))]
    out = torch.cat(out[:len(x)]) + torch.cat(out[len(x):])
    return out if bias is None else out + bias[..., None, None]


@pytest.mark.parametrize('shape, fmt, dtype, size, taps, biases',
                         [(*case, 9, None) for case in CASES] + [(*case, 1, 2) for case in CASES[:2]] +
                         [(*case, 9, 2) for case in SPECIAL])
def check_values_of_pair(shape, fmt, dtype, size, taps, biases, cut):
    cut(size)
    torch.manual_seed(0)
    batch, channels = shape[:2]
    inputs = [make(*shape, fmt=fmt, dtype=dtype), make(*shape, fmt=fmt, dtype=dtype),
              make(batch, channels, 9), make(batch, channels, taps),
              None if biases is None else make(1 if biases == 1 else batch, channels)]
    if dtype == torch.float64:
        inputs = [None if i is None else i.detach().double().requires_grad_() for i in inputs]
    compare(lambda *i: (ops().depthwise_pair(*i), ), lambda *i: (plain_pair(*i), ), inputs, dtype)


@pytest.mark.parametrize('taps, biases', [(9, 1), (1, None)])
def check_values_of_pair_with_and_without_bias(taps, biases):
    torch.manual_seed(0)
    inputs = [make(2, 5, 7, 3), make(2, 5, 7, 3), make(2, 5, 9), make(2, 5, taps),
              biases and make(biases, 5)]
    compare(lambda *i: (ops().depthwise_pair(*i), ), lambda *i: (plain_pair(*i), ), inputs,
            torch.float32)


@pytest.mark.parametrize('wanted, taps', [(0, 9), (1, 9), (1, 1), (2, 9), (3, 1), (4, 9)])
def check_values_of_pair_with_one_gradient(wanted, taps):
    torch.manual_seed(0)
    inputs = [make(2, 5, 7, 3), make(2, 5, 7, 3), make(2, 5, 9), make(2, 5, taps), make(2, 5)]
    for i, m in enumerate(inputs):
        m.requires_grad_(i == wanted)
    out = ops().depthwise_pair(*inputs)
    grad = torch.randn_like(out)
    actual, = torch.autograd.grad(out, inputs[wanted], grad)
    expected, = torch.autograd.grad(plain_pair(*inputs), inputs[wanted], grad)
    close(actual, expected, torch.float32)


@pytest.mark.parametrize('batch, channels', [(2, 5), (3, 70)])
@pytest.mark.parametrize('has_d', [False, True])
@pytest.mark.parametrize('has_e', [False, True])
def check_values_of_fold(has_d, has_e, batch, channels):
    from mmdla.ops.light import fold
    torch.manual_seed(0)
    inputs = [make(channels, 1, 3, 3), make(batch, channels), make(channels),
              make(batch, channels) if has_d else None, make(channels, 1, 3, 3) if has_e else None]
    compare(ops().fold, fold, inputs, torch.float32)


def plain_sum(weights, *values):
    return sum(w[..., None, None] * v for w, v in zip(weights.unbind(1), values))


@pytest.mark.parametrize('shape, fmt, dtype, size, layers',
                         [(*case, layers) for case in CASES[:4] for layers in (1, 2, 5)] +
                         [(*case, 2) for case in CASES[4:]] + [(*case, 5) for case in SPECIAL])
def check_values_of_weighted_sum(shape, fmt, dtype, size, layers, cut):
    cut(size)
    torch.manual_seed(0)
    inputs = [make(shape[0], layers, shape[1], dtype=dtype)]
    inputs += [make(*shape, fmt=fmt, dtype=dtype) for _ in range(layers)]
    compare(lambda w, *v: (ops().weighted_sum(w, v), ), lambda *i: (plain_sum(*i), ), inputs, dtype)


def check_values_of_weighted_sum_of_many():
    """More maps than a launch takes."""
    torch.manual_seed(0)
    inputs = [make(2, 17, 3)] + [make(2, 3, 2, 5) for _ in range(17)]
    compare(lambda w, *v: (ops().weighted_sum(w, v), ), lambda *i: (plain_sum(*i), ), inputs,
            torch.float32)


@pytest.mark.parametrize('wanted', [(0, ), (1, ), (2, 5), (0, 3)])
def check_values_of_weighted_sum_with_some_gradients(wanted):
    torch.manual_seed(0)
    inputs = [make(2, 5, 3)] + [make(2, 3, 4, 5) for _ in range(5)]
    for i, m in enumerate(inputs):
        m.requires_grad_(i in wanted)
    out = ops().weighted_sum(inputs[0], inputs[1:])
    grad = torch.randn_like(out)
    inputs_wanted = [inputs[i] for i in wanted]
    expected = torch.autograd.grad(plain_sum(*inputs), inputs_wanted, grad)
    for a, b in zip(torch.autograd.grad(out, inputs_wanted, grad), expected):
        close(a, b, torch.float32)


@pytest.mark.parametrize('fmt', FORMATS)
def check_values_of_any_mixture_of_formats(fmt):
    """The first map's format is kept; a map in neither format counts as NCHW."""
    torch.manual_seed(0)
    first, other = make(2, 5, 4, 6, fmt=fmt), make(2, 5, 4, 12)
    mixed = [make(2, 5, 4, 6, fmt=f) for f in FORMATS] + [other[..., ::2]]
    for second in mixed:
        x, *_ = ops().add_relu_mean(first, second, True)
        close(x, F.relu(first + second), torch.float32)
        assert x.is_contiguous(memory_format=fmt)
        x.sum().backward()
    x, *_ = ops().add_relu_mean(mixed[2], first, True)
    close(x, F.relu(first + mixed[2]), torch.float32)
    assert x.is_contiguous()


OPERATIONS = {
    'add_relu_mean': (lambda *i: ops().add_relu_mean(*i, True), plain_add_relu_mean, ()),
    'pair': (lambda *i: [ops().depthwise_pair(*i)], lambda *i: [plain_pair(*i)], ((9, ), (9, ), ())),
    'weighted_sum': (lambda a, b, w: [ops().weighted_sum(w.transpose(1, 2), (a, b))],
                     lambda a, b, w: [plain_sum(w.transpose(1, 2), a, b)], ((2, ), )),
}
LAYOUTS = {
    'expanded': lambda m: m[:, :1].expand_as(m),
    'transposed': lambda m: m.transpose(-2, -1).contiguous().transpose(-2, -1),
    'sliced': lambda m: torch.stack([m, m], -1)[..., 0],
}


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('operation', OPERATIONS)
@pytest.mark.parametrize('which', ['inputs', 'gradients'])
def check_values_of_any_layout(which, operation, layout):
    """Of the strides of inputs, and of gradients."""
    torch.manual_seed(0)
    ours, plain, extra = OPERATIONS[operation]
    inputs = [make(2, 4, 5, 3), make(2, 4, 5, 3), *(make(2, 4, *shape) for shape in extra)]
    if which == 'inputs':
        inputs = [LAYOUTS[layout](i.detach()).requires_grad_() for i in inputs]
        assert not any(i.is_contiguous() for i in inputs)
    out, expected = ours(*inputs), plain(*inputs)
    grads = [torch.randn_like(o, memory_format=torch.contiguous_format) for o in expected]
    if which == 'gradients':
        grads = [LAYOUTS[layout](g) for g in grads]
        assert not any(g.is_contiguous() for g in grads)
    found, wanted = (torch.autograd.grad(o, inputs, grads) for o in (out, expected))
    for a, b in zip((*out, *found), (*expected, *wanted)):
        close(a, b, torch.float32)


@pytest.mark.parametrize('operation', OPERATIONS)
def check_values_of_any_repetition_are_equal(operation, cut):
    """Bit for bit, with sums over several parts of a plane."""
    cut(64)
    torch.manual_seed(0)
    ours, _, extra = OPERATIONS[operation]
    inputs = [make(2, 4, 15, 13), make(2, 4, 15, 13), *(make(2, 4, *shape) for shape in extra)]
    outs = [ours(*inputs) for _ in range(3)]
    results = [(*out, *torch.autograd.grad(out, inputs, out)) for out in outs]
    assert all(torch.equal(a, b) for again in results[1:] for a, b in zip(results[0], again))


@pytest.mark.parametrize('variant', ['light', 'base'])
def check_values_of_a_network(variant):
    from mmdla.models import DLAResNet
    from mmdla.ops import use
    torch.manual_seed(0)
    model = DLAResNet(20, variant, trunk='cifar', base_channels=4, dim_per_head=4,
                      context_unit=dict(reduction=2)).to(DEVICE, torch.float64)
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64, device=DEVICE)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    results = []
    for how in ('reference', 'triton'):
        for mode in (False, True):
            model.load_state_dict(start)
            model.train(mode).zero_grad()
            with use(how):
                out = model(images)[0]
            (out * out.detach().cos()).sum().backward()
            results.append([out.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    for expected, found in zip(results[:2], results[2:]):
        for one, other in zip(expected, found):
            torch.testing.assert_close(other, one, rtol=1e-8, atol=1e-8)
