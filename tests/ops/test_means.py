"""The operations on channel means against their definitions."""
import pytest
import torch
import torch.nn.functional as F
from definitions import TOLERANCE, needs_kernels
from torch import nn

from mmdla import ops


@pytest.mark.parametrize('how', ['reference', pytest.param('kernels', marks=needs_kernels)])
@pytest.mark.parametrize('layers, kernels_each, width', [(1, 2, 5), (3, 1, 3), (2, 2, 7)])
def test_channel_convolution_is_conv1d(how, layers, kernels_each, width):
    y = torch.randn(2, layers, 11, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(layers, kernels_each, width, dtype=torch.float64, requires_grad=True)
    with ops.use(how):
        out = ops.channel_convolution(y, weights)
    expected = F.conv1d(y, weights.flatten(0, 1)[:, None], padding=width // 2, groups=layers)
    torch.testing.assert_close(out, expected.view_as(out), **TOLERANCE)
    g = torch.randn_like(out)
    for found, wanted in zip(torch.autograd.grad(out, (y, weights), g),
                             torch.autograd.grad(expected, (y, weights), g.view_as(expected))):
        torch.testing.assert_close(found, wanted, **TOLERANCE)


@needs_kernels
@pytest.mark.parametrize('channels, dim, width', [(12, 4, 3), (64, 32, 5), (21, 7, 7)])
def test_self_score(channels, dim, width):
    shapes = ((3, channels), (2, width))
    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    results = []
    for how in ('reference', 'kernels'):
        with ops.use(how):
            out = ops.self_score(*inputs, dim)
        results.append((out, *torch.autograd.grad((out * out.detach().cos()).sum(), inputs)))
    for found, wanted in zip(*results):
        torch.testing.assert_close(found, wanted, **TOLERANCE)


@needs_kernels
@pytest.mark.parametrize('pre, c', [((2, 12), (2, 4)), ((2, 3, 12), (2, 3, 4)), ((2, 3, 12), (2, 1, 4))])
def test_dsu_update(pre, c):
    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in (pre, c)]
    assert ops.dsu_update_is_fast(*inputs)
    i, f, candidate = inputs[0].chunk(3, -1)
    expected = torch.sigmoid(f) * inputs[1] + torch.sigmoid(i) * torch.tanh(candidate)
    results = [(out, *torch.autograd.grad((out * out.detach().cos()).sum(), inputs))
               for out in (ops.dsu_update(*inputs), expected)]
    for found, wanted in zip(*results):
        torch.testing.assert_close(found, wanted, **TOLERANCE)


@pytest.mark.parametrize('pre, c', [((12, ), (4, )), ((2, 12), (4, )), ((2, 3, 12), (2, 4)),
                                    ((0, 12), (0, 4)), ((2, 3, 12), (1, 1, 4))])
def test_dsu_update_refuses_other_shapes(pre, c):
    assert not ops.dsu_update_is_fast(torch.randn(pre), torch.randn(c))


def dsu_equations(y, c, squeeze, expand):
    """DLA, Eq. 7 to 9."""
    h = c.sigmoid()
    s = squeeze(torch.cat([h.expand_as(y), y], -1)).relu()
    i, f, candidate = expand(s).chunk(3, -1)
    return f.sigmoid() * c + i.sigmoid() * candidate.tanh()


def linear_layers(channels, hidden, dtype=torch.float64):
    return nn.Linear(2 * channels, hidden, bias=False, dtype=dtype), nn.Linear(
        hidden, 3 * channels, dtype=dtype)


@needs_kernels
@pytest.mark.parametrize('y, c', [((2, 8), (2, 8)), ((2, 3, 8), (2, 3, 8)), ((2, 3, 8), (2, 1, 8)),
                                  ((1, 1, 8), (1, 1, 8)), ((1, 5, 8), (1, 1, 8)),
                                  ((5, 1, 8), (5, 1, 8))])
def test_dsu(y, c):
    layers = linear_layers(8, 3)
    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in (y, c)]
    assert ops.dsu_is_fast(*inputs, *layers)
    wanted = (*inputs, *(p for layer in layers for p in layer.parameters()))
    results = [(out, *torch.autograd.grad((out * out.detach().cos()).sum(), wanted))
               for out in (ops.dsu(*inputs, *layers), dsu_equations(*inputs, *layers))]
    for found, expected in zip(*results):
        torch.testing.assert_close(found, expected, **TOLERANCE)


@needs_kernels
def test_dsu_of_halves_is_computed_in_float32():
    """Under autocast, where the means are bfloat16 and the weights float32."""
    layers = linear_layers(8, 3, torch.float32)
    y, c = torch.randn(2, 2, 8)
    with torch.autocast('cpu', torch.bfloat16):
        out = ops.dsu(y.bfloat16(), c, *layers)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, dsu_equations(y.bfloat16().float(), c, *layers))
    halves = [layer.bfloat16() for layer in layers]
    assert ops.dsu(y.bfloat16(), c.bfloat16(), *halves).dtype == torch.bfloat16


@pytest.mark.parametrize('y, c', [((8, ), (8, )), ((2, 8), (8, )), ((2, 3, 8), (2, 8)), ((0, 8), (0, 8)),
                                  ((2, 3, 8), (1, 1, 8))])
def test_dsu_refuses_other_shapes(y, c):
    assert not ops.dsu_is_fast(torch.randn(y), torch.randn(c), *linear_layers(8, 3, torch.float32))
