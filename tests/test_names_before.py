"""Checkpoints with the names of mmdla 0.1."""
import re

import pytest
import torch
from mmengine.runner.checkpoint import _load_checkpoint_to_model

from mmdla.models import DIAResNet, DLAResNet, DLAVisionTransformer, MRLAResNet, RLAResNet
from mmdla.names_before import present_config
from mmdla.pretrained import load_backbone
from mmdla.registry import MODELS

ARCH = dict(embed_dims=32, num_layers=4, num_heads=2, feedforward_channels=48)
BACKBONES = {
    'mrla_l': lambda: MRLAResNet(18, base_channels=32, stem_channels=32),
    'dla_l': lambda: DLAResNet(18, base_channels=32, stem_channels=32, initial_context='learned'),
    'dla_b': lambda: DLAResNet(18, 'base', base_channels=32, stem_channels=32),
    'dia': lambda: DIAResNet(18, base_channels=32, stem_channels=32),
    'rla': lambda: RLAResNet(18, 8, hidden_output=True, base_channels=32, stem_channels=32),
    'vit': lambda: DLAVisionTransformer(ARCH, initial_context='learned'),
}


def name_of_0_1(name):
    for present, old in (('.context.unit.', '.context_unit.'), ('.context.initial', '.initial_context'),
                         ('lambda_l', 'lambda_t'), ('attention.3.output.0.', 'hidden_norm.')):
        name = name.replace(present, old)
    return name


def tensors_of_0_1(model):
    tensors = {}
    for name, value in model.state_dict().items():
        name = name_of_0_1(name)
        if 'pos_embed' in model.state_dict():
            name = name.replace('attention.0.', 'attention.')
        else:
            name = re.sub(r'^attention\.(\d)\.', lambda m: f'layer{int(m[1]) + 1}.attention.', name)
        tensors[name] = value
    return tensors


@pytest.mark.parametrize('build', BACKBONES.values(), ids=BACKBONES)
@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_loads_with_a_note(build, prefix, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr('mmdla.pretrained.print_log', lambda text, *args: said.append(text))
    trained, path = build(), str(tmp_path / 'old.pth')
    old = tensors_of_0_1(trained)
    assert old.keys() != trained.state_dict().keys()
    torch.save(dict(state_dict={prefix + name: value for name, value in old.items()}), path)
    model = build()
    load_backbone(model, path)
    assert 'with names of mmdla 0.1 were renamed' in said[0] and 'tensors loaded' in said[-1]
    for name, value in model.state_dict().items():
        assert torch.equal(value, trained.state_dict()[name]), name


@pytest.mark.parametrize('load', [
    lambda model, tensors: model.load_state_dict(tensors),
    lambda model, tensors: _load_checkpoint_to_model(model, dict(state_dict=tensors), strict=True),
], ids=['torch', 'mmengine'])
@pytest.mark.parametrize('build', BACKBONES.values(), ids=BACKBONES)
def test_loads_into_a_whole_model(build, load):
    """As a Runner resumes and an inferencer starts."""
    trained, model = build(), torch.nn.ModuleDict(dict(backbone=build(), head=torch.nn.Linear(2, 2)))
    old = {f'backbone.{name}': value for name, value in tensors_of_0_1(trained).items()}
    load(model, {**old, 'head.weight': torch.ones(2, 2), 'head.bias': torch.ones(2)})
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, trained.state_dict()[name]), name


def test_config_of_a_backbone():
    old = dict(type='mmdla.DLAResNet', depth=18, gate='identity',
               context_unit=dict(type='DSU', gates='split', reduction=8))
    new = dict(type='mmdla.DLAResNet', depth=18, refresh_by='context',
               context_unit=dict(type='DSU', form='split', reduction=8))
    assert present_config(old) == new and present_config(new) == new
    assert MODELS.build(present_config(old)).non_shape_arguments['refresh_by'] == 'context'


def test_an_old_run_is_not_resumed(call, mini_root, tmp_path, monkeypatch):
    """Its optimizer state is in the order of the parameters then."""
    monkeypatch.setenv('MINI_ROOT', str(mini_root))
    tensors = {'backbone.layer1.attention.layers.0.lambda_t': torch.zeros(64)}
    torch.save(dict(state_dict=tensors, meta={}), tmp_path / 'epoch_1.pth')
    done = call('train.py', 'configs/mini/faster_rcnn_mrla_l18_mini.py', '--work-dir', tmp_path,
                '--resume', tmp_path / 'epoch_1.pth')
    assert done.returncode == 1 and 'is of mmdla 0.1' in done.stderr and done.stderr.count('\n') == 1
