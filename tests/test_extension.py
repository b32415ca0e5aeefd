"""What CONTRIBUTING tells to write outside the package, tried as it stands in docs/examples."""
import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmdla.attention import Interaction
from mmdla.engine.attention_map import AttentionRecorder
from mmdla.engine.fuse import fuse
from mmdla.errors import UserError
from mmdla.models import DLAResNet, ResNet, VisionTransformer
from mmdla.registry import MODELS

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / 'docs' / 'examples'


@pytest.fixture
def examples(fresh_registry):
    """The example modules."""
    for name in ('my_attention', 'my_trunk'):
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f'{name}.py')
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])


def test_the_examples_are_short():
    classes = {node.name: node.end_lineno - node.lineno + 2 for file in EXAMPLES.glob('*.py')
               for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef)}
    assert classes.keys() == {'MovingAverage', 'GRU', 'ChannelScale', 'Block', 'MyNet', 'MyTrunk'}
    assert classes['MovingAverage'] <= 30 and classes['GRU'] <= 15 and classes['MyTrunk'] <= 25


@pytest.mark.parametrize('backbone', [
    dict(type='mmdla.ResNet', interaction=dict(type='mmdla.MovingAverage')),
    pytest.param(dict(type='mmdla.DLAResNet', context_unit=dict(type='mmdla.GRU')),
                 marks=pytest.mark.full),
    pytest.param(dict(type='mmdla.ResNet', plugins=[dict(cfg=dict(type='mmdla.ChannelScale'))]),
                 marks=pytest.mark.full),
], ids=['form', 'context unit', 'channel attention'])
def test_a_detector_trains_with_a_class_of_the_users(backbone, mini_root, tmp_path, monkeypatch):
    monkeypatch.setenv('MINI_ROOT', str(mini_root))
    config = Config.fromfile('configs/mini/faster_rcnn_mrla_l18_mini.py')
    base = config.model.backbone
    config.model.backbone = dict(
        {**backbone, **{name: value for name, value in base.items() if name != 'type'}})
    config.custom_imports = dict(imports=['mmdla', 'my_attention'])
    config.merge_from_dict({
        'train_cfg.max_epochs': 1, 'train_dataloader.dataset.indices': 4,
        'val_dataloader.dataset.indices': 2, 'default_hooks.logger.interval': 1})
    config.dump(tmp_path / 'config.py')
    env = {**os.environ, 'OMP_NUM_THREADS': '1',
           'PYTHONPATH': os.pathsep.join([str(ROOT), str(EXAMPLES)])}
    done = subprocess.run(
        [sys.executable, 'tools/train.py', tmp_path / 'config.py', '--work-dir', tmp_path], env=env,
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    lines = next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()
    losses = [line['loss'] for line in map(json.loads, lines) if 'loss' in line]
    assert losses and all(0 < loss < 20 for loss in losses)
    tensors = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['state_dict']
    marks = ('attention.0.logit', 'attention.0.context.unit.cell.weight_ih', 'layer1.0.channel_scale.a')
    assert any(f'backbone.{mark}' in tensors for mark in marks)


@pytest.mark.usefixtures('examples')
@pytest.mark.parametrize('build', [
    lambda: ResNet(18, interaction=dict(type='mmdla.MovingAverage')),
    lambda: DLAResNet(18, context_unit=dict(type='GRU')),
    lambda: DLAResNet(18, 'base', context_unit=dict(type='mmdla.GRU')),
    lambda: VisionTransformer('deit-tiny', interaction=dict(type='mmdla.MovingAverage')),
    lambda: MODELS.build(dict(type='mmdla.MyTrunk', interaction=dict(type='mmdla.DLABase'))),
], ids=['form', 'unit', 'unit of the base form', 'vision transformer', 'trunk'])
def test_any_backbone_takes_them(build):
    model = build()
    sum(out.square().sum() for out in model(torch.randn(2, 3, 64, 64))).backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None]
    assert unused == []
    x = torch.randn(3, 3, 64, 64).double()
    model = model.double()
    model.eval()
    for whole, *parts in zip(model(x), *(model(sample[None]) for sample in x)):
        torch.testing.assert_close(whole, torch.cat(parts), rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures('examples')
@pytest.mark.parametrize('form', ['MRLALight', 'DLALight'])
def test_a_trunk_of_ones_own_starts_as_it_was(form, tmp_path):
    host = sys.modules['my_trunk'].MyNet()
    torch.save(host.state_dict(), tmp_path / 'host.pth')
    model = MODELS.build(dict(
        type='mmdla.MyTrunk', interaction=dict(type=f'mmdla.{form}'), attention_init='zero',
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'host.pth'))))
    model.init_weights()
    x = torch.randn(2, 3, 64, 64)
    for ours, theirs in zip(model(x), host(x)):
        assert torch.equal(ours, theirs)


@pytest.mark.usefixtures('examples')
def test_a_trunk_of_ones_own_freezes():
    model = MODELS.build(dict(type='mmdla.MyTrunk', frozen_stages=1,
                              interaction=dict(type='mmdla.MRLALight'))).train()
    trained = {name.split('.')[1] for name, p in model.named_parameters()
               if name.startswith('attention.') and p.requires_grad}
    assert trained == {'1'} and not model.attention[0].training and model.attention[1].training


@pytest.mark.usefixtures('examples')
def test_a_trunk_of_ones_own_refuses_unknown_arguments():
    with pytest.raises(UserError, match='MyTrunk has no argument dephts'):
        MODELS.build(dict(type='mmdla.MyTrunk', dephts=(2, 2)))


@pytest.mark.usefixtures('examples')
def test_own_initialisation_is_kept():
    class Zeros(Interaction):
        def __init__(self, *args):
            super().__init__(*args)
            self.conv = torch.nn.Conv2d(self.channels, self.channels, 1)

        def init_weights(self, attention_init):
            torch.nn.init.zeros_(self.conv.weight)

    model = ResNet(18, interaction=dict(type=Zeros))
    model.init_weights()
    assert not any(attention.conv.weight.any() for attention in model.attention)


@torch.no_grad()
def test_fusing_leaves_a_form_of_ones_own_as_it_is():
    class Norm(Interaction):
        def __init__(self, *args):
            super().__init__(*args)
            self.conv = torch.nn.Conv2d(self.channels, self.channels, 1)
            self.norm = torch.nn.BatchNorm2d(self.channels)

        def forward(self, index, x, o, state):
            return x + self.norm(o) + self.conv(x), state

    model = ResNet(18, base_channels=16, stem_channels=16, interaction=dict(type=Norm)).double().eval()
    for attention in model.attention:
        torch.nn.init.uniform_(attention.norm.running_var, 0.5, 2)
    x = torch.randn(2, 3, 32, 32).double()
    expected = model(x)[0]
    torch.testing.assert_close(fuse(model)(x)[0], expected, rtol=1e-9, atol=1e-9)


def test_an_error_inside_a_class_of_the_users_is_shown_as_it_is():
    class Wrong(Interaction):
        def __init__(self, *args):
            super().__init__(*args)
            self.conv = torch.nn.Conv2d(self.channels)

    with pytest.raises(TypeError, match='missing'):
        ResNet(18, interaction=dict(type=Wrong))


@pytest.mark.parametrize('build, words', [
    (lambda: DLAResNet(18, gate='identity'), "has no argument gate: it is now refresh_by='output'"),
    (lambda: DLAResNet(18, context_unit=dict(gates='split')), "gates: it is now form='joint'"),
    (lambda: ResNet(18, context_unit=dict(type='mmdla.DSU')), 'it is one of the interaction'),
    (lambda: ResNet(18, heads=2), 'ResNet has no argument heads.$'),
    (lambda: DLAResNet(18, interaction=dict(type='mmdla.LII')), 'does not go with a system'),
    (lambda: DLAResNet(18, context_unit='mmdla.DSU'), 'context_unit is a dict with type'),
    (lambda: VisionTransformer('deit-tiny', interaction=dict(
        type='mmdla.MRLALight', drop_path_rate=0.1)),
     'drop_path_rate is not supported'),
    (lambda: VisionTransformer('deit-tiny', interaction=dict(type='mmdla.MRLABase', group=0)),
     'group must be 1 or more'),
    (lambda: ResNet(18, interaction=dict(type='mmdla.Nothing')), 'type of interaction must be one of'),
    (lambda: ResNet(18, interaction=dict(type='mmdla.DSU')), 'type of interaction must be one of'),
    (lambda: ResNet(18, interaction='mmdla.DLALight'), 'interaction is a dict with type'),
    (lambda: ResNet(18, interaction=dict(type='mmdla.MRLALight', heads=2)), 'MRLALight does not take'),
    (lambda: DLAResNet(18, context_unit=dict(type='mmdla.DLALight')), 'type of context_unit must'),
    (lambda: VisionTransformer('deit-tiny', interaction=dict(type='mmdla.RLA')), 'widens the blocks'),
])
def test_wrong_names_and_arguments_get_one_sentence(build, words):
    with pytest.raises(UserError, match=words) as error:
        build()
    assert '\n' not in str(error.value)


def test_a_backbone_with_a_form_of_ones_own_is_extracted(call, tmp_path):
    config = dict(type='mmdla.ResNet', depth=18, base_channels=16, stem_channels=16,
                  interaction=dict(type='mmdla.MovingAverage'))
    code = ('import my_attention, torch\nfrom mmdla.registry import MODELS\n'
            f'tensors = MODELS.build({config!r}).state_dict()\n'
            f'torch.save(dict(meta=dict(cfg="model = dict(backbone={config!r})"), state_dict='
            '{"backbone." + name: value for name, value in tensors.items()}), "classifier.pth")')
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), str(EXAMPLES)])}
    subprocess.run([sys.executable, '-c', code], check=True, cwd=tmp_path, env=env)
    out = tmp_path / 'backbone.pth'
    done = call('convert/extract_backbone.py', tmp_path / 'classifier.pth', out)
    assert done.returncode == 1 and 'import the modules that register' in done.stderr
    done = call('convert/extract_backbone.py', tmp_path / 'classifier.pth', out, '--imports', 'nothing')
    assert done.returncode == 1 and 'have its folder in PYTHONPATH' in done.stderr
    tool = ROOT / 'tools' / 'convert' / 'extract_backbone.py'
    subprocess.run([sys.executable, tool, tmp_path / 'classifier.pth', out, '--imports', 'my_attention'],
                   check=True, env=env)
    assert torch.load(out)['meta']['backbone'] == config


def test_the_attention_of_a_form_of_ones_own_is_recorded():
    class Average(Interaction):
        records = True

        def forward(self, index, x, o, state):
            if self.recorder is not None:
                self.record(index, torch.ones(len(x), 1, self.channels) / 2, torch.tensor(0.5))
            return x + (x + o) / 2, state

    model = ResNet(18, base_channels=16, stem_channels=16, interaction=dict(type=Average)).eval()
    recorder = AttentionRecorder(model)
    model(torch.randn(2, 3, 32, 32))
    weights = recorder.maps()['stage 1']
    assert weights.shape == (2, 2, 2, 1, 16) and not recorder.softmax
    assert torch.equal(weights[0, :, :, 0, 0], torch.tensor([[0.5, 0], [0.25, 0.5]]))
