"""timm's attention as a plugin."""
import sys

import pytest
import torch

from mmdla.errors import UserError
from mmdla.gates import TimmAttention
from mmdla.models import DLAResNet, ResNet

RUNS = ('se', 'ese', 'eca', 'ecam', 'ceca', 'gc', 'gca', 'cbam', 'lcbam', 'coord', 'scoord', 'ela',
        'strip', 'sk', 'splat', 'lambda', 'nl')
SIZES = {'halo': (16, 8), 'bat': (7, 7), 'bottleneck': (6, 4)}


@pytest.mark.parametrize('name', [*RUNS, *SIZES])
def test_they_run_and_are_timms(name):
    layers = pytest.importorskip('timm.layers')
    arguments = dict(feat_size=(6, 4)) if name == 'bottleneck' else {}
    try:
        theirs = layers.create_attn(name, 64, **arguments).eval()
    except AssertionError:
        pytest.skip(f'this timm has no {name}')
    layer = TimmAttention(64, name, **arguments).eval()
    layer.layer.load_state_dict(theirs.state_dict())
    u = torch.randn(2, 64, *SIZES.get(name, (10, 7)))
    torch.testing.assert_close(layer(u), theirs(u))
    layer.train()(u).square().mean().backward()
    assert all(p.grad is not None for p in layer.parameters())


def test_in_a_network():
    pytest.importorskip('timm')
    plugins = [dict(cfg=dict(type='mmdla.TimmAttention', name='eca'))]
    model = DLAResNet(18, plugins=plugins)
    assert [type(layer.layer).__name__ for layer in model.plugin_layers().values()] == ['EcaModule'] * 8
    assert model(torch.rand(1, 3, 64, 64))[0].shape == (1, 512, 2, 2)
    assert model.non_shape_arguments['plugins'][0][0][1] == dict(type='mmdla.TimmAttention', name='eca')


@pytest.mark.parametrize('arguments, words', [
    (dict(name='nothing'), r"not build its attention 'nothing' for 64 channels .*Invalid attn"),
    (dict(name='se', nonsense=1), "timm does not build its attention 'se'"),
    (dict(name='bottleneck'), "timm does not build its attention 'bottleneck'"),
    (dict(name='halo'), "'halo' does not take maps of 14 x 14"),
    (dict(name='lambda', stride=2), r'makes \(1, 64, 7, 7\) of \(1, 64, 14, 14\)'),
])
def test_mistakes_get_one_sentence(arguments, words):
    pytest.importorskip('timm')
    with pytest.raises(UserError, match=words):
        TimmAttention(64, **arguments)(torch.rand(1, 64, 14, 14))


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm.layers', None)
    with pytest.raises(UserError, match='needs timm: pip install "timm>=1.0"'):
        ResNet(18, plugins=[dict(cfg=dict(type='mmdla.TimmAttention', name='eca'))])
