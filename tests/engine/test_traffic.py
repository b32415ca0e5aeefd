"""mmdla.engine.traffic: bytes of operations, and which are one pass."""
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmdla import ops
from mmdla.engine.traffic import Trace, fused, trace
from mmdla.models import DLAResNet, MRLAResNet, ResNet

SHAPE = (4, 64, 32, 32)
MAP = 4 * 64 * 32 * 32 * 2  # bytes


def new_map():
    return torch.empty(SHAPE, dtype=torch.bfloat16, device='meta', requires_grad=True)


def passes(function, *maps, backward=True):
    """Maps that are read and written: in operations one by one, and fused."""
    with Trace() as found:
        out = function(*maps)
        if backward:
            torch.autograd.grad(out, maps, torch.empty_like(out))
    return [round(sum(operation.bytes for operation in operations) / MAP, 2)
            for operations in (found.operations, fused(found.operations))]


@pytest.mark.parametrize('training, forward, both', [(True, 3, 8), (False, 2, 6)])
def test_batch_norm(training, forward, both):
    norm = nn.BatchNorm2d(64).train(training).to('meta', torch.bfloat16)
    assert passes(norm, new_map(), backward=False)[0] == pytest.approx(forward, abs=0.01)
    assert passes(norm, new_map())[0] == pytest.approx(both, abs=0.01)


def test_a_convolution_backward_is_two():
    convolution = nn.Conv2d(64, 64, 1, bias=False).to('meta', torch.bfloat16)
    with Trace() as found:
        convolution(new_map()).backward(torch.empty(SHAPE, dtype=torch.bfloat16, device='meta'))
    weight, made = 64 * 64 * 2, [operation for operation in found.operations if operation.flops]
    assert [operation.bytes for operation in made] == [2 * MAP + weight] * 3
    assert {operation.flops for operation in made} == {2 * 4 * 64 * 64 * 32 * 32}


def test_depthwise_convolutions_have_no_arithmetic():
    convolution = nn.Conv2d(64, 64, 3, padding=1, groups=64, bias=False).to('meta', torch.bfloat16)
    with Trace() as found:
        convolution(new_map())
    assert [operation.flops for operation in found.operations] == [0]


def test_views_cost_nothing_and_expanded_tensors_once():
    factor = torch.empty(4, 64, dtype=torch.bfloat16, device='meta')
    with torch.no_grad():
        assert passes(lambda m: m.flatten(2).transpose(1, 2)[:, 3:], new_map(), backward=False) == [0, 0]
        assert passes(lambda m: m * factor[..., None, None].expand(SHAPE), new_map(),
                      backward=False)[0] == pytest.approx(2, abs=0.01)


def test_what_is_one_pass():
    a, b = new_map(), new_map()
    with torch.no_grad():
        # nobody needs the map
        assert passes(lambda: F.relu(a + b).mean((2, 3)), backward=False) == [6, 2]
        assert passes(lambda: (a + b).mul_(a).add_(b), backward=False) == [9, 3]
        # a mean must be there before it can be subtracted; both passes add
        assert passes(lambda: (s := a + b) - s.mean((2, 3), keepdim=True), backward=False) == [6, 5]
    norm = nn.BatchNorm2d(64).to('meta', torch.bfloat16)
    assert passes(lambda: F.relu(norm(a)) + b, backward=False)[1] == pytest.approx(4, abs=0.01)


@pytest.mark.parametrize('cls, variant, per_layer', [
    (MRLAResNet, 'light', lambda layer: 21 + 37),
    (DLAResNet, 'light', lambda layer: 29 + 54),
    (MRLAResNet, 'base', lambda layer: 15 + 3 * layer + 25 + 9 * layer),
    (DLAResNet, 'base', lambda layer: 15 + 3 * layer + 25 + 9 * layer)])
def test_the_passes_of_docs_performance(cls, variant, per_layer):
    """Its table of the reference, counted by hand; a plain block has 11."""
    images = torch.empty(64, 3, 224, 224, dtype=torch.bfloat16, device='meta')
    found = []
    with ops.use('reference'):
        for network in (ResNet(34), cls(34, variant=variant)):
            operations = trace(network.train().to('meta', torch.bfloat16), images)
            found.append(sum(operation.bytes for operation in operations))
    expected = sum((per_layer(index + 1) - 11) * 64 * 64 * 56 * 56 * 2 / 2 ** stage
                   for stage, layers in enumerate((3, 4, 6, 3)) for index in range(layers))
    assert found[1] - found[0] == pytest.approx(expected, rel=0.03)
