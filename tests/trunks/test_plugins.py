"""Attention inside the blocks: where plugins go, what they are called, what is refused."""
import pytest
import torch
import torchvision
from mmdet.models.backbones import ResNet as MMDetResNet
from stages import Stage
from torch import nn

from mmdla.engine.fuse import fuse
from mmdla.errors import UserError
from mmdla.models import DLAResNet, ResNet, RLAResNet

GC = [dict(cfg=dict(type='ContextBlock', ratio=1 / 4), stages=(False, True, True, True),
           position='after_conv3')]


def randomize(model):
    for p in model.parameters():
        nn.init.normal_(p, std=0.1)
    for name, buffer in model.named_buffers():
        if 'running_var' in name:
            nn.init.uniform_(buffer, 0.5, 1.5)
    return model.double().eval()


@pytest.mark.parametrize('plugins', [
    GC, [dict(cfg=dict(type='mmdla.SE'), position='after_conv3')],
    [dict(cfg=dict(type='mmdla.ECA'), position='after_conv3'),
     dict(cfg=dict(type='mmdla.CBAM'), stages=(True, False, False, True), position='after_conv3')],
], ids=['gc', 'se', 'eca_cbam'])
def test_is_mmdets_resnet_with_the_same_plugins(plugins):
    """Their checkpoints load, and our layers serve in their network."""
    torch.manual_seed(0)
    theirs = MMDetResNet(50, plugins=plugins)
    randomize(theirs)
    ours = ResNet(50, plugins=plugins, out_indices=(0, 1, 2, 3)).double().eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 3, 64, 64).double()
    for a, b in zip(ours(x), theirs(x)):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_a_channel_attention_is_a_class_and_a_config_line():
    class Doubled(nn.Module):
        def __init__(self, in_channels):
            super().__init__()
            self.in_channels = in_channels

        def forward(self, u):
            return 2 * u

    model = ResNet(50, plugins=[dict(cfg=dict(type=Doubled), stages=(True, False, False, True))])
    assert [(name, layer.in_channels) for name, layer in model.plugin_layers().items()] == [
        *((f'layer1.{i}.doubled', 256) for i in range(3)),
        *((f'layer4.{i}.doubled', 2048) for i in range(3))]
    plain = ResNet(50)
    plain.load_state_dict(model.state_dict())
    for net in (model, plain):
        nn.init.ones_(net.layer1[0].norm3.weight)
    x = torch.randn(2, 256, 4, 4)
    branch, shortcut = plain.eval().layer1[1].parts(x, x)
    doubled, same = model.eval().layer1[1].parts(x, x)
    assert torch.equal(doubled, 2 * branch) and torch.equal(same, shortcut)


@pytest.mark.parametrize('end', [torch.tanh, torch.relu, torch.sigmoid, torch.exp,
                                 lambda u: u.softmax(1), lambda u: u],
                         ids=['tanh', 'relu', 'sigmoid', 'exp', 'softmax', 'identity'])
def test_a_plugin_may_end_in_anything(end):
    """The block's sum works in place, unless the gradient reads the plugin's output."""
    class End(nn.Module):
        def __init__(self, in_channels):
            super().__init__()

        def forward(self, u):
            return end(u)

    for cls, with_cp in ((ResNet, False), (DLAResNet, False), (DLAResNet, True)):
        kwargs = dict(base_channels=32, stem_channels=32, with_cp=with_cp,
                      plugins=[dict(cfg=dict(type=End))])
        model = Stage(randomize(cls(18, **kwargs)), 0)
        x = torch.randn(2, 32, 5, 5).double()
        torch.autograd.gradcheck(model, x.requires_grad_(), fast_mode=True)


def test_blocks_count_from_the_end():
    nl = [dict(cfg=dict(type='NonLocal2d'), position='after_block', blocks=((), (1, ), (-2, ), ()))]
    for depth, last_but_one in ((50, 4), (101, 21)):
        names = list(ResNet(depth, plugins=nl).plugin_layers())
        assert names == ['layer2.1.nonlocal_block', f'layer3.{last_but_one}.nonlocal_block']


def test_inserted_blocks_follow_the_layer_attention():
    nl = [dict(cfg=dict(type='NonLocal2d'), position='after_block', blocks=((0, ), (), (), ()))]
    model = randomize(DLAResNet(18, base_channels=32, stem_channels=32, plugins=nl))
    stage, x = Stage(model, 0), torch.randn(2, 32, 6, 6).double()
    without = Stage(DLAResNet(18, base_channels=32, stem_channels=32).double().eval(), 0)
    without.load_state_dict({k: v for k, v in stage.state_dict().items() if 'nonlocal' not in k})
    first, state = without.step(0, x, None)
    first = stage[0].nonlocal_block(first)
    expected, _ = without.step(1, first, state)
    torch.testing.assert_close(stage(x), expected, rtol=1e-9, atol=1e-9)


def test_arguments_by_stage():
    plugins = [dict(cfg=dict(type='mmdla.ECA'), per_stage=dict(kernel_size=(3, 3, 5, 7)))]
    model = ResNet(50, plugins=plugins)
    assert [stage[0].eca.conv.weight.numel() for stage in model.stages] == [3, 3, 5, 7]


def test_several_of_a_kind_in_a_block():
    model = ResNet(18, plugins=[dict(cfg=dict(type='mmdla.SE'))] * 2)
    assert list(model.plugin_layers())[:2] == ['layer1.0.se', 'layer1.0.se1']
    assert model(torch.randn(1, 3, 64, 64))[0].shape == (1, 512, 2, 2)


def test_layer_depths_for_layerwise_learning_rates():
    model = ResNet(50, plugins=GC)
    depths = {model.get_layer_depth(f'backbone.layer3.4.{name}', 'backbone.')
              for name in ('context_block.conv_mask.weight', 'conv1.weight')}
    assert len(depths) == 1


@pytest.mark.parametrize('plugins, words', [
    ([dict(type='mmdla.SE')], 'a plugin is a dict with cfg'),
    ([dict(cfg=dict(type='mmdla.SE'), stages=(True, ) * 4, blocks=((), ) * 4)], 'stages or blocks'),
    ([dict(cfg=dict(type='mmdla.SE'), position='after_conv1')], 'position must be one of'),
    ([dict(cfg=dict(type='mmdla.SE'), stages=(True, ))], r'stages=\(True,\) of a plugin has no value'),
    ([dict(cfg=dict(type='mmdla.ECA'), per_stage=dict(kernel_size=(3, 5)))], 'has no value for stage 2'),
    ([dict(cfg=dict(type='mmdla.SE'), blocks=((), (3, ), (), ()))], 'do not exist in a stage of 2'),
    ([dict(cfg=dict(type='mmdla.Nonsense'))], "no layer 'mmdla.Nonsense'"),
    ([dict(cfg=dict(type='mmdla.SE', ratio=4))], 'SE does not take these arguments'),
    ([dict(cfg=dict(type='mmdla.AAConv2d', size=7))], 'AAConv2d does not take these arguments'),
    (dict(cfg=dict(type='mmdla.SE')), 'plugins is a list of dicts'),
    ([dict(cfg='mmdla.SE')], 'cfg, a dict'),
    ([dict(cfg=dict(type='mmdla.SE'), stages=True)], 'stages=True of a plugin has no value'),
    ([dict(cfg=dict(type='mmdla.SE'), blocks=(1, 1, 1, 1))], 'holds the indices of each stage'),
    ([dict(cfg=dict(type='SE'))], 'those of this package begin with mmdla'),
])
def test_refused(plugins, words):
    with pytest.raises(UserError, match=words):
        ResNet(18, plugins=plugins)


def save(tmp_path, model, prefix=''):
    path = str(tmp_path / 'start.pth')
    torch.save({prefix + k: v for k, v in model.state_dict().items()}, path)
    return dict(type='Pretrained', checkpoint=path)


NL = [dict(cfg=dict(type='NonLocal2d'), position='after_block', blocks=((), (), (-2, ), ()))]


@pytest.mark.parametrize('cls, kwargs', [
    (ResNet, dict(plugins=GC)), (ResNet, dict(plugins=NL)),
    (ResNet, dict(plugins=GC + NL)),
    (DLAResNet, dict(plugins=GC, attention_init='zero'))], ids=['gc', 'nl', 'gc_nl', 'dla_gc'])
def test_starts_as_torchvisions_resnet(cls, kwargs, tmp_path):
    plain = torchvision.models.resnet18().eval()
    nn.init.uniform_(plain.bn1.weight)
    model = cls(18, init_cfg=save(tmp_path, plain), **kwargs).eval()
    model.init_weights()
    x = torch.randn(2, 3, 64, 64)
    stem = plain.maxpool(plain.relu(plain.bn1(plain.conv1(x))))
    assert torch.equal(model(x)[0], plain.layer4(plain.layer3(plain.layer2(plain.layer1(stem)))))


def test_a_trained_plugin_is_loaded_whole(tmp_path):
    trained = ResNet(18, plugins=GC)
    for p in trained.parameters():
        nn.init.normal_(p)
    model = ResNet(18, plugins=GC, init_cfg=save(tmp_path, trained, 'backbone.'))
    model.init_weights()
    for name, value in trained.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    parts = trained.state_dict()
    del parts['layer3.0.context_block.conv_mask.weight']
    torch.save(parts, tmp_path / 'start.pth')
    with pytest.raises(UserError, match='1 missing'):
        ResNet(18, plugins=GC, init_cfg=model.pretrained_cfgs).init_weights()


def test_a_plugin_of_another_meaning_is_refused(tmp_path):
    trained = [dict(cfg=dict(type='mmdla.SE'), position='after_block')]
    path = tmp_path / 'start.pth'
    torch.save(dict(meta=dict(backbone=dict(type='mmdla.ResNet', depth=18, plugins=trained)),
                    state_dict=ResNet(18, plugins=trained).state_dict()), path)
    start = dict(type='Pretrained', checkpoint=str(path))
    ResNet(18, plugins=[dict(cfg=dict(type='mmdla.SE', reduction=16), position='after_block')],
                init_cfg=start).init_weights()
    with pytest.raises(UserError, match='was trained with plugins='):
        ResNet(18, plugins=[dict(cfg=dict(type='mmdla.SE'))], init_cfg=start).init_weights()


def test_a_plugin_keeps_its_own_start():
    plugin = dict(type='NonLocal2d', zeros_init=False, std=0.1)
    model = ResNet(18, plugins=[dict(cfg=plugin, position='after_block')])
    model.init_weights()
    assert abs(model.layer4[0].nonlocal_block.conv_out.conv.weight.std() - 0.1) < 0.01


def test_a_gate_does_not_start_from_a_plain_resnet(tmp_path):
    start = save(tmp_path, torchvision.models.resnet18())
    with pytest.raises(UserError, match='16 missing .* it is of the plain network, without'):
        ResNet(18, plugins=[dict(cfg=dict(type='mmdla.SE'))], init_cfg=start)


def test_rla_from_a_classifier_to_a_detector(tmp_path):
    trained = RLAResNet(18, hidden_channels=8, hidden_output=True)
    for p in trained.parameters():
        nn.init.normal_(p)
    detector = RLAResNet(18, hidden_channels=8, init_cfg=save(tmp_path, trained))
    detector.init_weights()
    for name, value in detector.state_dict().items():
        assert torch.equal(trained.state_dict()[name], value), name
    start = save(tmp_path, detector)
    with pytest.raises(UserError, match='attention.3.output'):
        RLAResNet(18, hidden_channels=8, hidden_output=True, init_cfg=start)


FORMS = {
    'se': [dict(cfg=dict(type='mmdla.SE'))],
    'cbam': [dict(cfg=dict(type='mmdla.CBAM'))],
    'ba': [dict(cfg=dict(type='mmdla.BridgeAttention'), position='bridge')],
    'a2': [dict(cfg=dict(type='mmdla.DoubleAttention'), position='after_block',
                blocks=((), (0, ), (1, ), ()))],
    'aa': [dict(cfg=dict(type='mmdla.AAConv2d'), position='conv2', per_stage=dict(size=(12, 6, 3, 2)))],
}


@torch.no_grad()
@pytest.mark.parametrize('name', [*FORMS, 'rla'])
def test_fused_networks_compute_the_same(name):
    model = (RLAResNet(50, base_channels=32, hidden_output=True) if name == 'rla' else
             ResNet(50, base_channels=32, plugins=FORMS[name]))
    model = randomize(model)
    x = torch.randn(2, 3, 48, 33).double()
    before = model(x)[0]
    torch.testing.assert_close(fuse(model)(x)[0], before, rtol=1e-8, atol=1e-9)
