"""The layers against the papers' equations written out in tests/literal.py, in float64."""
import literal
import pytest
import torch
from stages import Stage

from mmdla.errors import UserError
from mmdla.gates.eca import adaptive_kernel_size
from mmdla.models import DIAResNet, DLAResNet, MRLAResNet, ResNet
from mmdla.ops import use

UNITS = [
    dict(),
    dict(context_unit=dict(form='split', reduction=4)),
    dict(context_unit=dict(normalizer='identity', reduction=2)),
    dict(context_unit=dict(normalizer='tanh', form='split', reduction=2)),
    dict(context_unit=dict(normalizer='relu', reduction=2)),
    dict(refresh_by='context'),
    dict(excite=False),
    dict(initial_context='learned'),
    dict(initial_context='learned', context_unit=dict(form='split')),
    dict(context_unit=dict(type='RNN')),
    dict(context_unit=dict(type='LSTM')),
    dict(context_unit=dict(type='LSTM'), refresh_by='context'),
    dict(context_unit=dict(type='DIA', reduction=4)),
    dict(context_unit=dict(type='DIA', reduction=4), initial_context='learned'),
    dict(context_unit=dict(type='RNN'), initial_context='learned'),
]
BASE_UNITS = [kwargs for kwargs in UNITS if 'excite' not in kwargs]


def randomize(module):
    """Parameters and statistics that no shortcut of the code could get right by chance."""
    for p in module.parameters():
        torch.nn.init.normal_(p, std=0.3)
    for name, buffer in module.named_buffers():
        if 'running' in name:
            torch.nn.init.uniform_(buffer, 0.5, 1.5)
    return module.double()


def compare(transcription, stage, x, mode, **literal_args):
    """Values and gradients of a stage, plain and fast, and of its transcription."""
    stage.train(mode == 'train')
    weight = torch.randn_like(stage(x))

    def plain(v):
        with use('reference'):
            return stage(v)

    results = []
    for function in (stage, plain, lambda v: transcription(stage, v, **literal_args)):
        stage.zero_grad()
        leaf = x.clone().requires_grad_()
        out = function(leaf)
        (out * weight).sum().backward()
        results.append((out, leaf.grad, {n: p.grad for n, p in stage.named_parameters()}))
    *found, (ref_out, ref_grad, ref_grads) = results
    for out, grad, grads in found:
        torch.testing.assert_close(out, ref_out, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(grad, ref_grad, rtol=1e-9, atol=1e-9)
        assert grads.keys() == ref_grads.keys() and all(g is not None for g in grads.values())
        for name in grads:
            torch.testing.assert_close(
                grads[name], ref_grads[name], rtol=1e-9, atol=1e-9, msg=lambda m, n=name: f'{n}: {m}')


@pytest.mark.parametrize('mode', ['eval', 'train'])
@pytest.mark.parametrize('size', [(5, 7), (1, 1), (6, 4)])
@pytest.mark.parametrize('variant, transcription', [('light', literal.light_stage),
                                                    ('base', literal.base_stage)])
def test_mrla_is_equations_2_and_3(variant, transcription, size, mode):
    stage = randomize(Stage(MRLAResNet(50, variant, base_channels=8, dim_per_head=8), 1))
    x = torch.randn(2, 32, 2 * size[0], 2 * size[1]).double()
    compare(transcription, stage, x, mode, dim=8)


@pytest.mark.parametrize('mode', ['train', pytest.param('eval', marks=pytest.mark.full)])
@pytest.mark.parametrize('kwargs', UNITS, ids=str)
def test_dla_light_is_equations_6_to_9(kwargs, mode):
    stage = randomize(Stage(DLAResNet(50, base_channels=16, dim_per_head=16, **kwargs), 0))
    compare(
        literal.light_stage,
        stage,
        torch.randn(3, 64, 5, 3).double(),
        mode,
        dim=16,
        dla=True,
        unit=kwargs.get('context_unit'),
        refresh_by=kwargs.get('refresh_by', 'output'))


@pytest.mark.parametrize('refresh', ['features', 'tokens'])
@pytest.mark.parametrize('kwargs', BASE_UNITS, ids=str)
def test_dla_base_rewrites_every_earlier_layer(kwargs, refresh):
    stage = randomize(
        Stage(DLAResNet(50, 'base', base_channels=8, dim_per_head=8, refresh=refresh,
                        **{'context_unit': dict(reduction=4), **kwargs}), 1))
    compare(
        literal.base_stage,
        stage,
        torch.randn(2, 32, 5, 6).double(),
        'train',
        dim=8,
        dla=True,
        unit=kwargs.get('context_unit'),
        refresh_by=kwargs.get('refresh_by', 'output'),
        refresh=refresh)


@pytest.mark.parametrize('unit', [
    dict(reduction=4), dict(type='LSTM'), dict(type='RNN'), dict(type='DSU', reduction=4),
    dict(type='DSU', form='split', reduction=4)
], ids=str)
def test_lii(unit):
    stage = randomize(Stage(DIAResNet(20, unit, trunk='cifar', base_channels=8), 1))
    compare(literal.lii_stage, stage, torch.randn(2, 32, 6, 5).double(), 'train', unit=unit)


@pytest.mark.parametrize('channels, width', [(64, 3), (128, 5), (256, 5), (512, 5), (1024, 5),
                                             (2048, 7)])
def test_kernel_size(channels, width):
    assert adaptive_kernel_size(channels) == width


@pytest.mark.parametrize('kwargs, words', [
    (dict(dim_per_head=48), 'dim_per_head=48 does not divide a stage of 256'),
    (dict(context_unit=dict(reduction=300)), 'reduction=300'),
    (dict(context_unit=dict(form='both')), "form must be one of 'joint', 'split'"),
    (dict(context_unit=dict(normalizer='softmax')), 'normalizer must be one of'),
    (dict(context_unit=dict(type='GRU')), 'type of context_unit must be one of'),
    (dict(refresh_by='tanh'), 'refresh_by must be one of'),
    (dict(initial_context='random'), 'initial_context must be one of'),
    (dict(variant='huge'), "variant must be one of 'light', 'base'"),
    (dict(variant='base', attention_init='zero'), 'end in a ReLU'),
    (dict(variant='base', excite=False), "excite is an argument of variant='light'"),
    (dict(refresh='tokens'), "refresh is an argument of variant='base'"),
    (dict(depth=11, trunk='cifar', variant='base', context_unit=dict(reduction=4)),
     'needs 2 blocks or more'),
    (dict(depth=21, trunk='cifar'), r'9n \+ 2'),
    (dict(context_unit=dict(type='RNN', reduction=4)), 'RNN does not take'),
    (dict(attention_init='none'), 'attention_init must be one of'),
    (dict(depth=77), 'depth must be one of 18, 34, 50, 101, 152; got 77'),
])
def test_bad_arguments_get_one_sentence(kwargs, words):
    with pytest.raises(UserError, match=words) as error:
        DLAResNet(**{'depth': 50, **kwargs})
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('form', ['MRLALight', 'DLALight', 'MRLABase', 'DLABase'])
def test_means_of_the_trunk_change_nothing(form):
    """Nor do they with pre_norm, where queries and keys are of the norms' means."""
    for pre_norm in (False, True):
        model = ResNet(18, base_channels=32, stem_channels=32, interaction=dict(
            type=f'mmdla.{form}', dim_per_head=16, pre_norm=pre_norm)).double().eval()
        x = torch.randn(2, 3, 32, 32).double()
        expected = model(x)[0]
        for attention in model.attention:
            attention.num_means = 0
        torch.testing.assert_close(model(x)[0], expected, rtol=1e-9, atol=1e-9)
