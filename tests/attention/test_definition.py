"""DLA-B as the paper states it, beside the factored form that runs."""
import pytest
import torch
from stages import Stage
from torch import nn

from mmdla.models import DLAResNet, VisionTransformer


def randomize(module):
    for p in module.parameters():
        nn.init.normal_(p, std=0.3)
    return module.double()


def results(model, inputs, weight):
    """Output and gradients."""
    model.zero_grad()
    leaf = inputs.clone().requires_grad_()
    out = model(leaf)
    out = out[0] if isinstance(out, tuple) else out
    (out * weight).sum().backward()
    return dict(out=out.detach(), inputs=leaf.grad,
                **{name: p.grad for name, p in model.named_parameters()})


def compare(model, attention, inputs):
    weight = torch.randn(10**6).double()

    def run():
        with torch.no_grad():
            out = model(inputs)
        out = out[0] if isinstance(out, tuple) else out
        return results(model, inputs, weight[:out.numel()].view_as(out))

    factored = run()
    attention.forward = lambda index, x, o, state, *means: attention.definition(index, x, o, state)
    for name, expected in run().items():
        torch.testing.assert_close(
            factored[name], expected, rtol=1e-9, atol=1e-9, msg=lambda m, n=name: f'{n}: {m}')


@pytest.mark.parametrize('mode', [True, False], ids=['train', 'eval'])
@pytest.mark.parametrize('kwargs', [
    dict(), dict(context_unit=dict(form='split', reduction=4)), dict(refresh_by='context'),
    dict(context_unit=dict(type='mmdla.LSTM')), dict(initial_context='learned')], ids=str)
def test_of_a_resnet(kwargs, mode):
    model = DLAResNet(50, 'base', base_channels=8, dim_per_head=8,
                      **{'context_unit': dict(reduction=4), **kwargs})
    stage = randomize(Stage(model, 1)).train(mode)
    compare(stage, stage.attention, torch.randn(2, 32, 5, 7).double())


def test_of_a_vision_transformer():
    arch = dict(embed_dims=32, num_layers=6, num_heads=2, feedforward_channels=48)
    model = randomize(VisionTransformer(arch, out_type='raw', interaction=dict(
        type='mmdla.DLABase', context_unit=dict(type='mmdla.DSU', reduction=4))))
    compare(model, model.attention[0], torch.randn(2, 3, 32, 48).double())
