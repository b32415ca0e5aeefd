"""What a form of layer attention gets from its base classes."""
import pytest
import torch
from torch import nn

from mmdla.attention import DLABase, DLALight, Interaction, MRLABase, MRLALight
from mmdla.errors import UserError

BN = dict(type='BN')


def test_layer_of_takes_the_lists_that_a_form_names():
    class Form(Interaction):
        per_layer = ('own', )

        def __init__(self):
            super().__init__(8, 3, BN)
            self.own = nn.ModuleList(nn.Linear(1, 1) for _ in range(3))
            self.shared = nn.ModuleList(nn.Linear(1, 1) for _ in range(2))
            self.one = nn.Linear(1, 1)

    form = Form()
    assert {name: form.layer_of(name) for name, _ in form.named_parameters() if 'bias' in name} == {
        'own.0.bias': 0, 'own.1.bias': 1, 'own.2.bias': 2, 'shared.0.bias': None, 'shared.1.bias': None,
        'one.bias': None}


def test_record_tells_values_without_their_graph():
    form, seen = DLALight(8, 2, BN, dim_per_head=4, context_unit=dict(reduction=2)), []
    form.recorder = lambda *told: seen.append(told)
    x = torch.randn(2, 8, 3, 3, requires_grad=True)
    form(1, x, x, form.initial_state(x, None))
    (who, index, newest, carried), = seen
    assert who is form and index == 1
    assert newest.shape == (2, 1, 8) and carried.shape == (2, 8)
    assert not newest.requires_grad and not carried.requires_grad


@pytest.mark.parametrize('num_layers', [1, 3, 9])
@pytest.mark.parametrize('form', [MRLALight, MRLABase])
def test_init_weights(form, num_layers):
    attention = form(8, num_layers, BN, dim_per_head=4)
    for how, gamma in (('scaled', num_layers**-0.5), ('one', 1), ('zero', 0)):
        attention.init_weights(how)
        for norm in attention.norms:
            torch.testing.assert_close(norm.weight, torch.full((8, ), float(gamma)))


def test_init_weights_of_a_layer_scale():
    attention = MRLABase(8, 4, BN, dim_per_head=4, layer_scale=True)
    for how, gamma, scale in (('scaled', 0.5, 1), ('one', 1, 1), ('zero', 0.5, 0)):
        attention.init_weights(how)
        assert all((norm.weight == gamma).all() for norm in attention.norms)
        assert all((s == scale).all() for s in attention.scales)


def test_a_layer_scale_of_one_is_the_papers_form_and_another_follows_the_relu():
    attention = MRLABase(8, 2, BN, dim_per_head=4, layer_scale=True).double().eval()
    plain = MRLABase(8, 2, BN, dim_per_head=4).double().eval()
    plain.load_state_dict(attention.state_dict(), strict=False)
    x = torch.randn(2, 8, 5, 3).double()
    branch = plain(0, x, x, None)[0] - x
    for scale in (1.0, -0.5):
        nn.init.constant_(attention.scales[0], scale)
        torch.testing.assert_close(attention(0, x, x, None)[0], x + scale * branch)


def test_a_layer_scale_is_refused_without_a_relu():
    with pytest.raises(UserError, match='layer_scale is for the form with a ReLU'):
        MRLABase(8, 4, dict(type='mmpretrain.LN2d'), dim_per_head=4, pre_norm=True, layer_scale=True)


def test_groups_of_one_layer_have_none_to_refresh():
    with pytest.raises(UserError, match='of one block has none'):
        DLABase(8, 4, BN, dim_per_head=4, group=1, context_unit=dict(reduction=2))
