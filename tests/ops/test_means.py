"""The operations on channel means against their definitions."""
import pytest
import torch
import torch.nn.functional as F
from definitions import TOLERANCE, needs_kernels

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
    assert ops.dsu_is_fast(*inputs)
    i, f, candidate = inputs[0].chunk(3, -1)
    expected = torch.sigmoid(f) * inputs[1] + torch.sigmoid(i) * torch.tanh(candidate)
    results = [(out, *torch.autograd.grad((out * out.detach().cos()).sum(), inputs))
               for out in (ops.dsu_update(*inputs), expected)]
    for found, wanted in zip(*results):
        torch.testing.assert_close(found, wanted, **TOLERANCE)


@pytest.mark.parametrize('pre, c', [((12, ), (4, )), ((2, 12), (4, )), ((2, 3, 12), (2, 4)),
                                    ((0, 12), (0, 4)), ((2, 3, 12), (1, 1, 4))])
def test_dsu_update_refuses_other_shapes(pre, c):
    assert not ops.dsu_is_fast(torch.randn(pre), torch.randn(c))
