"""The comparison systems against their equations in tests/literal_comparison.py, in float64."""
from functools import partial

import literal_comparison as literal
import pytest
import torch
from mmcv.cnn.bricks import ContextBlock, NonLocal2d
from stages import Stage
from torch import nn

from mmdla.errors import UserError
from mmdla.gates import CBAM, ECA, SE, AAConv2d, BridgeAttention, DoubleAttention
from mmdla.models import ResNet, RLAResNet

GATES = {
    'se': (partial(SE, 16, reduction=4), literal.se),
    'eca': (partial(ECA, 16), literal.eca),
    'eca_wide': (partial(ECA, 16, kernel_size=5), literal.eca),
    'cbam': (partial(CBAM, 16, reduction=4), literal.cbam),
    'gc': (partial(ContextBlock, 16, 1 / 4), literal.gc),
    'nl': (partial(NonLocal2d, 16), literal.nl),
    'a2': (partial(DoubleAttention, 16), literal.a2),
}


def randomize(module):
    for p in module.parameters():
        nn.init.normal_(p, std=0.3)
    for name, buffer in module.named_buffers():
        if 'running' in name:
            nn.init.uniform_(buffer, 0.5, 1.5)
    return module.double()


def compare(function, transcription, module, *maps):
    """Values and gradients for the maps and the parameters."""
    results = []
    for f in (function, transcription):
        leaves = [m.clone().requires_grad_() for m in maps]
        module.zero_grad()
        outs = f(*leaves)
        outs = outs if isinstance(outs, tuple) else (outs, )
        sum((out * torch.arange(1, out.numel() + 1).view_as(out).cos()).sum() for out in outs).backward()
        grads = [p.grad for p in module.parameters() if p.requires_grad]
        assert None not in grads
        results.append([*outs, *(leaf.grad for leaf in leaves), *grads])
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def maps(*shapes):
    return [torch.randn(shape).double() for shape in shapes]


@pytest.mark.parametrize('mode', [True, False], ids=['train', 'eval'])
@pytest.mark.parametrize('shape', [(2, 16, 3, 4), (3, 16, 1, 1), (1, 16, 5, 2)], ids=str)
@pytest.mark.parametrize('name', GATES)
def test_layers(name, shape, mode):
    build, transcription = GATES[name]
    layer = randomize(build()).train(mode)
    compare(layer, partial(transcription, layer), layer, *maps(shape))


@pytest.mark.parametrize('mode', [True, False], ids=['train', 'eval'])
@pytest.mark.parametrize('hidden', [(8, 8), (16, )], ids=['bottleneck', 'basic'])
def test_bridge_attention(hidden, mode):
    layer = randomize(BridgeAttention(16, hidden, reduction=4)).train(mode)
    u, *features = maps((3, 16, 2, 3), *((3, c, 4, 3) for c in hidden))
    compare(lambda u, *f: layer(u, f), lambda u, *f: literal.ba(layer, u, f), layer, u, *features)


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('size', [(3, 4), (1, 1), (2, 3)], ids=str)
def test_attention_augmented_convolution(stride, size):
    height, width = size
    layer = randomize(AAConv2d(4, 12, 3, stride, 1, size=size))
    shape = (2, 4, height * stride - (stride - 1), width * stride)
    compare(layer, partial(literal.aa, layer), layer, *maps(shape))


@pytest.mark.parametrize('mode', [True, False], ids=['train', 'eval'])
@pytest.mark.parametrize('size', [(4, 4), (5, 3)], ids=str)
@pytest.mark.parametrize('depth', [18, 50])
def test_rla_stage(depth, size, mode):
    model = RLAResNet(depth, hidden_channels=3, hidden_output=True, stem_channels=8, base_channels=4)
    stage = Stage(randomize(model).train(mode), 1)
    x, h = maps((2, stage[0].in_channels, *size), (2, 3, *size))
    compare(stage.scan, partial(literal.rla_stage, stage), stage, x, h)


def test_rla_carries_its_hidden_map_through_all_stages():
    model = randomize(RLAResNet(18, 3, hidden_output=True, stem_channels=8, base_channels=4)).eval()
    images = maps((2, 3, 32, 48))[0]
    x = model.maxpool(model.relu(model.norm1(model.conv1(images))))
    h = x.new_zeros(2, 3, 8, 12)
    for index in range(4):
        x, h = literal.rla_stage(Stage(model, index), x, h)
    expected = torch.cat([x, literal.relu(model.attention[-1].output[0](h))], 1)
    torch.testing.assert_close(model(images)[0], expected, rtol=1e-9, atol=1e-9)
    assert model.feat_dim == expected.shape[1]


def test_rla_with_one_block_a_stage_trains_all_that_it_trains():
    model = RLAResNet(11, hidden_channels=4, trunk='cifar')
    model(torch.randn(2, 3, 32, 32))[0].mean().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_rla_leaves_out_what_nobody_reads():
    model = RLAResNet(18, 4, base_channels=8, stem_channels=8, out_indices=(0, 1, 2, 3))
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == [
        f'attention.3.norms.1.{n}' for n in ('weight', 'bias')]
    with pytest.raises(UserError, match='requires the last stage in out_indices'):
        RLAResNet(18, hidden_output=True, out_indices=(0, 2))


def test_position_tables_of_another_size_are_interpolated():
    layer = randomize(AAConv2d(4, 12, 3, padding=1, size=(5, 4)))
    with torch.no_grad():  # linear in the distance, as between the two sizes
        distance = torch.arange(-4.0, 5).double()
        layer.rows[:] = distance[:, None] / 9
    other = randomize(AAConv2d(4, 12, 3, padding=1, size=(3, 4)))
    other.load_state_dict({**layer.state_dict(), 'rows': other.rows})
    with torch.no_grad():
        other.rows[:] = torch.arange(-2.0, 3).double()[:, None] / 5
    x = maps((2, 4, 3, 4))[0]
    torch.testing.assert_close(layer(x), other(x), rtol=1e-9, atol=1e-9)
    assert layer(maps((2, 4, 1, 7))[0]).shape == (2, 12, 1, 7)


def test_pooled_attention_is_enlarged_again():
    layer = randomize(AAConv2d(4, 12, 3, padding=1, size=6, pool=2))
    assert layer.rows.shape == (5, 20)
    small = randomize(AAConv2d(4, 12, 3, 2, 1, size=3))
    small.load_state_dict(layer.state_dict())
    x = maps((2, 4, 6, 6))[0]
    far = nn.functional.interpolate(small(x)[:, 4:], size=(6, 6), mode='bilinear')
    torch.testing.assert_close(layer(x)[:, 4:], far, rtol=1e-9, atol=1e-9)


IDENTITIES = {
    'gc': [dict(cfg=dict(type='ContextBlock', ratio=1 / 4), stages=(False, True, True, True))],
    'nl': [dict(cfg=dict(type='NonLocal2d'), position='after_block', blocks=((), (), (-2, ), ()))],
    'a2': [dict(cfg=dict(type='mmdla.DoubleAttention'), position='after_block',
                blocks=((1, ), (), (0, ), ()))],
}


@pytest.mark.parametrize('plugins', IDENTITIES.values(), ids=IDENTITIES)
def test_gc_nl_and_a2_start_as_the_plain_resnet(plugins):
    plain, model = ResNet(18, base_channels=16), ResNet(18, base_channels=16, plugins=plugins)
    plain.init_weights(), model.init_weights()
    model.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(plain(x)[0], model(x)[0])
    model(x)[0].square().mean().backward()
    for name, layer in model.plugin_layers().items():
        assert any(p.grad.any() for p in layer.parameters()), name


def start_of(layer, name, cfg, position='after_branch'):
    """The layer in a network after init_weights."""
    model = ResNet(50, base_channels=32, plugins=[dict(cfg=cfg, position=position)])
    model.init_weights()
    return model.layer1[1].get_submodule(name)


def test_starts():
    cbam = start_of(CBAM, 'cbam', dict(type='mmdla.CBAM'))
    assert not cbam.norm.weight.any() and not cbam.mlp[0].bias.any() and not cbam.mlp[2].bias.any()
    assert abs(cbam.conv.weight.std() - (2 / 49)**0.5) < 0.06
    se = start_of(SE, 'se', dict(type='mmdla.SE'))
    assert se.conv1.conv.weight.abs().max() <= 128**-0.5 + 1e-6  # that of nn.Linear
    ba = start_of(BridgeAttention, 'bridge_attention', dict(type='mmdla.BridgeAttention'), 'bridge')
    assert ba.squeezes[2][0].weight.abs().max() <= 128**-0.5 + 1e-6
    aa = ResNet(50, plugins=[dict(
        cfg=dict(type='mmdla.AAConv2d', size=28), position='conv2', stages=(False, True, False, False))])
    aa.init_weights()
    assert abs(aa.layer2[1].conv2.rows.std() - 20**-0.5) < 0.05


def test_bridge_attention_of_one_image():
    model = ResNet(18, base_channels=16, plugins=[dict(
        cfg=dict(type='mmdla.BridgeAttention'), position='bridge')])
    image = torch.randn(1, 3, 64, 64)
    with pytest.raises(UserError, match='one image has none: train with two images'):
        model.train()(image)
    assert model.eval()(image)[0].isfinite().all()
    synced = dict(type='mmdla.BridgeAttention', norm_cfg=dict(type='SyncBN'))
    with pytest.raises(UserError, match='on several GPUs'):
        ResNet(18, base_channels=16, plugins=[dict(cfg=synced, position='bridge')])(image)
    frozen = ResNet(18, base_channels=16, norm_eval=True, plugins=model.plugins).train()
    assert frozen(image)[0].requires_grad


@pytest.mark.parametrize('layer, words', [
    (lambda: ECA(16, kernel_size=4), 'must be an odd width'),
    (lambda: ECA(16, kernel_size=(3, 3, 5, 7)), 'per_stage=dict'),
    (lambda: SE(8, reduction=16), 'leaves no hidden channel'),
    (lambda: CBAM(8), 'leaves no hidden channel'),
    (lambda: AAConv2d(8, 8, 3, padding=1, size=8), '8 channels are too few'),
])
def test_refused(layer, words):
    with pytest.raises(UserError, match=words):
        layer()
