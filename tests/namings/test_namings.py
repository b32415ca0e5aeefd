"""Networks of other libraries and the hosts' own compute the same with the renamed tensors."""
import pytest
import torch
from networks import CASES

from mmdla.namings import namings_of, present


def randomise(model):
    """Values anywhere, none that a network starts with: norms and scales of layers among them."""
    generator = torch.Generator().manual_seed(0)
    statistics = [(name, value) for name, value in model.named_buffers() if 'running' in name]
    for name, value in [*model.named_parameters(), *statistics]:
        with torch.no_grad():
            if value.dim() > 1 and name.endswith('weight'):
                value.normal_(0, value[0].numel()**-0.5, generator=generator)
            elif name.endswith(('weight', 'running_var', 'gamma', 'layer_scale')):
                value.uniform_(0.5, 1.5, generator=generator)
            else:
                value.normal_(0, 0.2, generator=generator)
    return model.eval().double()


def source_of(case):
    model = randomise(case.source())
    tensors = model.state_dict()
    return model, case.release(tensors) if case.release else tensors


def build(case):
    """Without the hosts' initial weights, which no test needs."""
    host = case.host().double()
    host.eval()
    return host


def parameters():
    return [pytest.param(case, id=name, marks=[pytest.mark.full] if case.full else [])
            for name, case in CASES.items()]


@pytest.mark.parametrize('case', parameters())
def test_the_host_computes_the_same(case):
    model, tensors = source_of(case)
    host = build(case)
    given = dict(tensors)
    renamed, origin = present(tensors, namings_of(type(host)))
    assert origin == case.origin
    assert dict(tensors) == given
    if case.origin is None:
        renamed = {name: value for name, value in renamed.items() if not name.startswith('fc.')}
    buffers = {name: value.clone() for name, value in host.named_buffers() if name.endswith('index')}
    host.load_state_dict(renamed, strict=True)
    for name, value in buffers.items():
        assert torch.equal(value, renamed[name])
    x = torch.randn(1, 3, case.size, case.size, dtype=torch.float64)
    with torch.no_grad():
        expected = case.out(model, x)
        out = host(x)[-1]
    assert out.shape == expected.shape
    assert expected.std() > 1e-3 * expected.abs().max()
    assert (out - expected).abs().max() <= 1e-9 * expected.abs().max()


@pytest.mark.parametrize('case', parameters())
def test_names_of_the_host_are_left_as_they_are(case):
    host = case.host()
    own = {**host.state_dict(), 'attention.0.layers.0.value.weight': torch.zeros(1)}
    assert present(own, namings_of(type(host))) == (own, None)
