"""The fast paths of mmdla.ops against the equations: values, gradients, statistics."""
import pytest
import torch
from definitions import (
    DEFINITIONS,
    FAST,
    TOLERANCE,
    base_layers,
    compare,
    expect,
    inputs_of,
    light_layer,
    needs_kernels,
    norm_of,
    run,
)
from mmcv.cnn.bricks import DropPath
from torch import nn

from mmdla import ops
from mmdla.ops.backend import kernels

SHAPES = [(2, 8, 7, 7), (1, 8, 5, 9), (3, 16, 1, 3), (2, 8, 20, 33), (1, 8, 2, 2), (5, 8, 14, 14)]
# the base form has no folded implementation: its reference adds up the maps by ops.weighted_sum
PATHS = [(light_layer, 'folded'), (base_layers, 'reference'),
         *(pytest.param(layer, 'kernels', marks=needs_kernels) for layer in (light_layer, base_layers))]
paths = pytest.mark.parametrize('layer, how', PATHS)


@pytest.mark.parametrize('mode', ['eval', 'train'])
@pytest.mark.parametrize('shape', SHAPES, ids=str)
@paths
def test_every_path_is_the_definition(layer, how, shape, mode):
    tensors, norm = inputs_of(shape, torch.float64), norm_of(shape[1], mode, torch.float64)
    compare(run(layer, how, tensors, norm), expect(layer, tensors, norm), **TOLERANCE)


@pytest.mark.parametrize('mode', ['eval', 'train'])
@pytest.mark.parametrize('refresh, excite', [(True, True), (False, False), (True, False)])
@pytest.mark.parametrize('shape', [*SHAPES, (9, 21, 3, 2), (1, 40, 1, 5), (2, 16, 40, 30)], ids=str)
@needs_kernels
def test_channels_last(shape, refresh, excite, mode):
    """Also of channels that fill no whole vector, and with samples that DropPath drops."""
    tensors = channels_last(inputs_of(shape, torch.float64, refresh, excite))
    norm = norm_of(shape[1], mode, torch.float64)
    expected = expect(light_layer, tensors, norm, drop_rate=0.3, seed=1)
    with torch.profiler.profile() as profile:
        found = run(light_layer, 'kernels', tensors, norm, drop_rate=0.3, seed=1)
    compare(found, expected, **TOLERANCE)
    assert 'mmdla::light' in {event.name for event in profile.events()}
    if min(shape[1], shape[2] * shape[3]) > 1:
        for name in ('output 0', 'branch', 'shortcut'):
            assert found[name].is_contiguous(memory_format=torch.channels_last), name


@pytest.mark.parametrize('mode', ['eval', 'train'])
@needs_kernels
def test_channels_last_in_place_of_nothing(mode):
    """Without gradients, where contiguous maps are overwritten."""
    tensors, norm = channels_last(inputs_of((2, 20, 7, 6), torch.float64)), norm_of(
        20, mode, torch.float64)
    results = []
    for how in ('reference', 'kernels'):
        with ops.use(how), torch.no_grad():
            results.append(light_layer(**tensors, norm=norm, drop_path=DropPath(0.0))[0])
    torch.testing.assert_close(*results, **TOLERANCE)


def channels_last(tensors):
    return {n: t.to(memory_format=torch.channels_last) if n in ('branch', 'shortcut') else t
            for n, t in tensors.items()}


@pytest.mark.parametrize('mode', ['eval', 'train'])
@pytest.mark.parametrize('refresh, excite', [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize('how', FAST)
def test_light_forms(how, refresh, excite, mode):
    tensors = inputs_of((2, 8, 6, 5), torch.float64, refresh, excite)
    norm = norm_of(8, mode, torch.float64)
    expected = expect(light_layer, tensors, norm)
    compare(run(light_layer, how, tensors, norm), expected, **TOLERANCE)


@pytest.mark.parametrize('mode', ['eval', 'train'])
@paths
def test_drop_path_drops_the_same_samples(how, layer, mode):
    """In training, with norms that train and, as in detectors, with frozen ones."""
    tensors, norm = inputs_of((6, 8, 4, 4), torch.float64), norm_of(8, mode, torch.float64)
    expected = expect(layer, tensors, norm, drop_rate=0.5, seed=3)
    compare(run(layer, how, tensors, norm, drop_rate=0.5, seed=3), expected, **TOLERANCE)


def zero_gamma(norm):
    nn.init.zeros_(norm.weight)


def cumulative(norm):
    norm.momentum = None


@pytest.mark.parametrize('change', [zero_gamma, cumulative], ids=lambda f: f.__name__)
@pytest.mark.parametrize('mode', ['eval', 'train'])
@paths
def test_unusual_batch_norms(how, layer, mode, change):
    tensors, norm = inputs_of((2, 8, 5, 4), torch.float64), norm_of(8, mode, torch.float64)
    change(norm)
    compare(run(layer, how, tensors, norm), expect(layer, tensors, norm), **TOLERANCE)


@pytest.mark.parametrize('norm', [
    nn.GroupNorm(2, 8), nn.BatchNorm2d(8, affine=False), nn.SyncBatchNorm(8).eval(), nn.Identity(),
    nn.BatchNorm2d(8, track_running_stats=False).eval()], ids=lambda n: type(n).__name__)
@paths
def test_other_norms(how, layer, norm):
    tensors, norm = inputs_of((2, 8, 5, 4), torch.float64), norm.double()
    compare(run(layer, how, tensors, norm), expect(layer, tensors, norm), **TOLERANCE)


@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, dict(rtol=1e-3, atol=1e-4)),
                                              (torch.bfloat16, dict(rtol=0.1, atol=0.15)),
                                              (torch.float16, dict(rtol=0.02, atol=0.03))], ids=str)
@pytest.mark.parametrize('mode', ['eval', 'train'])
@pytest.mark.parametrize('how, format', [
    ('folded', torch.contiguous_format), ('kernels', torch.contiguous_format),
    ('kernels', torch.channels_last)], ids=str)
def test_lower_precision_is_near_float64(how, format, mode, dtype, tolerance):
    if how == 'kernels' and kernels() is None:
        pytest.skip('the C++ kernels are not built: python -m mmdla.ops.build')
    shape = (2, 8, 9, 6)
    tensors = {n: t.to(dtype) for n, t in inputs_of(shape, torch.float64).items()}
    tensors.update({n: tensors[n].to(memory_format=format) for n in ('branch', 'shortcut')})
    norm = norm_of(8, mode, torch.float64)
    expected = expect(light_layer, {n: t.double() for n, t in tensors.items()}, norm)
    out = run(light_layer, how, tensors, norm.float())
    assert out['output 0'].dtype == dtype and out['branch'].dtype == dtype
    for name in ('output 0', 'branch'):
        scale = expected[name].abs().max()
        torch.testing.assert_close(out[name].double() / scale, expected[name] / scale, **tolerance)


@paths
def test_other_layouts_and_empty_batches_take_the_reference(how, layer):
    tensors, norm = inputs_of((2, 8, 6, 5), torch.float64), norm_of(8, 'eval', torch.float64)
    expected = expect(layer, tensors, norm)
    for change in (lambda t: t.to(memory_format=torch.channels_last),
                   lambda t: t.repeat_interleave(2, -1)[..., ::2]):
        changed = {**tensors, 'branch': change(tensors['branch'])}
        compare(run(layer, how, changed, norm), expected, **TOLERANCE)
    with ops.use(how):
        batched = ('branch', 'shortcut', 'score', 'd')
        empty = {n: t[:0] if n in batched else t for n, t in tensors.items()}
        assert layer(**empty, norm=norm, drop_path=DropPath(0.0))[0].shape == (0, 8, 6, 5)


@pytest.mark.parametrize('how', ['reference', *FAST])
def test_not_a_number_stays_one(how):
    tensors, norm = inputs_of((1, 8, 4, 4), torch.float64), norm_of(8, 'eval', torch.float64)
    tensors['branch'][0, 2, 1, 1] = float('nan')
    tensors.update(d=None, excite_weight=None)
    with ops.use(how), torch.no_grad():
        out = light_layer(**tensors, norm=norm, drop_path=DropPath(0.0))[0]
    assert out[0, 2].isnan().any()


@pytest.mark.parametrize('layer', [light_layer, base_layers])
@pytest.mark.parametrize('how', FAST)
@pytest.mark.parametrize('name', ['branch', 'shortcut', 'value_weight', 'score'])
def test_one_gradient_of_several(name, how, layer):
    """As where the rest of a network is frozen."""
    tensors = inputs_of((2, 8, 5, 4), torch.float64)
    norm = norm_of(8, 'eval', torch.float64).requires_grad_(False)
    found = []
    for used, function in (('reference', DEFINITIONS[layer]), (how, layer)):
        leaf = tensors[name].clone().requires_grad_()
        with ops.use(used):
            out = function(**{**tensors, name: leaf}, norm=norm, drop_path=DropPath(0.0))[0]
        found.extend(torch.autograd.grad((out * out.detach().cos()).sum(), leaf))
    torch.testing.assert_close(*found, **TOLERANCE)


@pytest.mark.parametrize('format', [torch.contiguous_format, torch.channels_last], ids=str)
@needs_kernels
def test_sums_over_large_planes_are_as_exact_as_the_reference(format):
    """Gradients of the factors, which are sums over 33600 places, in float32."""
    tensors = inputs_of((2, 16, 168, 200), torch.float64)
    norm = norm_of(16, 'train', torch.float64)
    expected = expect(light_layer, tensors, norm)
    halves = {n: t.float().to(memory_format=format) if t.dim() == 4 and t.shape[0] == 2 else t.float()
              for n, t in tensors.items()}
    names, errors = ('score', 'd', 'lambda_l', 'value_weight', 'excite_weight'), {}
    for how in ('reference', 'kernels'):
        found = run(light_layer, how, halves, norm.float())
        errors[how] = {name: ((found[name] - expected[name]).abs().max()
                              / expected[name].abs().max()).item() for name in names}
        norm.double()
    for name, error in errors['kernels'].items():
        assert error < 2 * errors['reference'][name] + 1e-7, (name, errors)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
@needs_kernels
def test_halves_are_rounded_as_by_pytorch(dtype):
    """To the nearest, ties to even, up to infinity; what is not a number stays so."""
    bits = torch.arange(-2**15, 2**15, dtype=torch.int32).to(torch.int16)
    halves = bits.view(dtype).view(1, 16, 64, 64)
    other = halves.flip(1, 2, 3) / 3
    for format in (torch.contiguous_format, torch.channels_last):
        branch, shortcut = (m.clone(memory_format=format) for m in (halves, other))
        x = ops.add_relu_mean(branch, shortcut)[0]
        expected = (halves.float() + other.float()).relu().to(dtype)
        torch.testing.assert_close(x, expected, rtol=0, atol=0, equal_nan=True)
