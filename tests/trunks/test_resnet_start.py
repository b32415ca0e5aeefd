"""What the networks compute before training."""
import pickle
from copy import deepcopy

import pytest
import torch
import torchvision
from torch import nn

from mmdla.models import DLAResNet, MRLAResNet, ResNet


def alive(model):
    """Norms as after some training."""
    for name, p in model.named_parameters():
        if p.dim() == 1 and name.endswith('weight'):
            nn.init.uniform_(p, 0.5, 1)
    return model


@pytest.mark.parametrize('depth', [18, 50])
@pytest.mark.parametrize('cls', [MRLAResNet, DLAResNet])
def test_zero_init_starts_as_the_plain_resnet(cls, depth, tmp_path):
    plain = alive(getattr(torchvision.models, f'resnet{depth}')()).eval()
    path = str(tmp_path / 'resnet.pth')
    torch.save(plain.state_dict(), path)
    model = cls(depth, attention_init='zero', init_cfg=dict(type='Pretrained', checkpoint=path))
    model.init_weights()
    x = torch.randn(2, 3, 64, 64)
    for mode in (False, True):
        model.train(mode), plain.train(mode)
        stem = plain.maxpool(plain.relu(plain.bn1(plain.conv1(x))))
        expected = plain.layer4(plain.layer3(plain.layer2(plain.layer1(stem))))
        assert torch.equal(model(x)[0], expected)
    model(x)[0].square().mean().backward()
    gammas = [norm.weight for attention in model.attention for norm in attention.norms]
    assert all(g.grad.abs().max() > 0 for g in gammas)


@pytest.mark.parametrize('norm_eval', [True, False])
@pytest.mark.parametrize('depth', [
    18, 50, *(pytest.param(depth, marks=pytest.mark.full) for depth in (34, 101, 152))])
@pytest.mark.parametrize('cls', [MRLAResNet, DLAResNet])
def test_random_init_keeps_ordinary_magnitudes(cls, depth, norm_eval):
    model = cls(depth, norm_eval=norm_eval, out_indices=(0, 1, 2, 3))
    model.init_weights()
    with torch.no_grad():
        outs = model.train()(torch.randn(2, 3, 128, 128))
    assert all(0.1 < out.std() < 3 for out in outs)


@pytest.mark.parametrize('norm_eval', [True, False])
@pytest.mark.parametrize('depth', [34, *(pytest.param(d, marks=pytest.mark.full) for d in (50, 152))])
@pytest.mark.parametrize('cls', [MRLAResNet, DLAResNet])
def test_random_init_of_the_base_form_keeps_the_plain_resnets_magnitudes(cls, depth, norm_eval):
    stds = []
    for model in (cls(depth, 'base', norm_eval=norm_eval, out_indices=(0, 1, 2, 3)),
                  ResNet(depth, norm_eval=norm_eval, out_indices=(0, 1, 2, 3))):
        model.init_weights()
        with torch.no_grad():
            stds.append([out.std() for out in model.train()(torch.randn(2, 3, 96, 96))])
    assert all(0.5 * plain < ours < 3 * plain + 0.5 for ours, plain in zip(*stds))


@pytest.mark.parametrize('copy', [deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
                         ids=['deepcopy', 'pickle'])
def test_copies_have_their_own_attention(copy):
    """As an EMA makes them."""
    model = alive(DLAResNet(18, base_channels=32, stem_channels=32)).eval()
    again, x = copy(model), torch.randn(2, 3, 32, 32)
    assert torch.equal(again(x)[0], model(x)[0])
    for attention in again.attention:
        nn.init.zeros_(attention.layers[0].value.weight)
    assert not torch.equal(again(x)[0], model(x)[0])
