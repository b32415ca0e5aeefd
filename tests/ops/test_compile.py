"""Under use('kernels') torch.compile and torch.export keep each operation as one node."""
import copy

import pytest
import torch
from definitions import needs_kernels
from torch._dynamo.backends.common import aot_autograd

from mmdla import ops
from mmdla.models import DLAResNet, MRLAResNet

pytestmark = needs_kernels
BACKBONES = [(MRLAResNet, 'light'), (MRLAResNet, 'base'), (DLAResNet, 'light'), (DLAResNet, 'base')]
LAYERS = 8


def network(backbone, variant):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = backbone(18, variant, base_channels=32, dim_per_head=8).double()
    model.init_weights()
    return model


def ours(graph):
    return [node.target.__name__ for node in graph.nodes if 'mmdla' in str(node.target)]


@pytest.mark.parametrize('training', [pytest.param(False, marks=pytest.mark.full), True])
@pytest.mark.parametrize('backbone, variant', [
    *(pytest.param(*pair, marks=pytest.mark.full) for pair in BACKBONES[:2]), *BACKBONES[2:]])
def test_compiled_as_eager(backbone, variant, training):
    """Outputs, gradients and running statistics, without a graph break."""
    compiled, eager = network(backbone, variant), network(backbone, variant)
    images, nodes = torch.randn(2, 3, 64, 48, dtype=torch.float64), []

    def keep(graph_module, inputs):
        nodes.append(ours(graph_module.graph))
        return graph_module.forward
    call = torch.compile(compiled.train(training), fullgraph=True,
                         backend=aot_autograd(fw_compiler=keep, bw_compiler=keep))
    with ops.use('kernels'):
        for forward in (call, eager.train(training)):
            forward(images)[0].square().sum().backward()
    for found, expected in zip(compiled.parameters(), eager.parameters()):
        scale = expected.grad.abs().max() + 1
        torch.testing.assert_close(found.grad / scale, expected.grad / scale, rtol=1e-9, atol=1e-9)
    for found, expected in zip(compiled.buffers(), eager.buffers()):
        torch.testing.assert_close(found, expected)
    kind = 'light.default' if variant == 'light' else 'base.default'
    forward_nodes, backward_nodes = nodes
    assert forward_nodes.count(kind) == backward_nodes.count(
        kind.replace('.', '_backward.')) == LAYERS
    assert forward_nodes.count('add_relu_mean.default') == LAYERS


@pytest.mark.parametrize('backbone, variant', [
    (DLAResNet, 'light'), *(pytest.param(*pair, marks=pytest.mark.full) for pair in BACKBONES[:2]),
    pytest.param(DLAResNet, 'base', marks=pytest.mark.full)])
def test_exported_with_the_operations(backbone, variant):
    model, images = network(backbone, variant).eval(), torch.randn(2, 3, 64, 48, dtype=torch.float64)
    with ops.use('kernels'):
        program = torch.export.export(model, (images, ))
    assert ours(program.graph).count(f'{variant}.default') == LAYERS
    torch.testing.assert_close(program.module()(images), model(images))
    assert not ours(torch.export.export(copy.deepcopy(model), (images, )).graph)


def test_one_graph_for_other_sizes():
    """Sizes that change are arguments of the compiled operations."""
    model, graphs = network(DLAResNet, 'light').eval(), []

    def count(graph_module, inputs):
        graphs.append(ours(graph_module.graph))
        return graph_module.forward
    call = torch.compile(model, backend=count, fullgraph=True, dynamic=True)
    with ops.use('kernels'):
        for height, width in ((64, 48), (96, 64), (80, 112)):
            images = torch.randn(2, 3, height, width, dtype=torch.float64)
            torch.testing.assert_close(call(images), model(images))
    assert len(graphs) == 1 and 'light' in graphs[0]
