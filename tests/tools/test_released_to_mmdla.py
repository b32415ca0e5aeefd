"""Released checkpoints through the converter, against outputs of the released code."""
import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from parity import recipe
from torch import nn

from mmdla.engine.pretrained import load_backbone
from mmdla.errors import UserError
from mmdla.models import DLAResNet, MRLAResNet
from mmdla.models.backbones.interaction_resnet import BottleneckBranch

HERE = Path(__file__).parent
SCRIPT = HERE.parents[1] / 'tools' / 'convert' / 'released_to_mmdla.py'
spec = importlib.util.spec_from_file_location('released_to_mmdla', SCRIPT)
converter = importlib.util.module_from_spec(spec)
spec.loader.exec_module(converter)

SPLIT = dict(type='DSU', gates='split', reduction=4)
CIFAR = {'cifar_mrla_l20': (MRLAResNet, {}), 'cifar_dla_l20': (DLAResNet, dict(context_unit=SPLIT))}


def fixture(name):
    content = json.loads((HERE.parent / 'parity' / f'{name}.json').read_text())
    tensors = {key: torch.from_numpy(recipe.tensor_for(key, shape, content['salt']))
               for key, shape in content['keys'].items()}
    images = recipe.images(content['batch'], content['size'], content['salt'] + 'images')
    return content, tensors, torch.from_numpy(images)


def assert_equal(logits, expected):
    expected = expected[0] if isinstance(expected, list) else expected
    flat = logits.detach().flatten().numpy()
    assert list(logits.shape) == expected['shape']
    np.testing.assert_allclose(flat[expected['index']], expected['value'], rtol=1e-9)
    np.testing.assert_allclose([flat.mean(), flat.std()], [expected['mean'], expected['std']],
                               rtol=1e-9)


def assert_parity(content, images, modules, network, parameter):
    """Logits in eval and train mode and each parameter's gradient norm of mean(logits^2)."""
    modules.eval()
    assert_equal(network(images), content['eval'])
    modules.train()
    logits = network(images)
    assert_equal(logits, content['train'])
    logits.square().mean().backward()
    largest = max(content['train_grad_norm'].values())
    for key, norm in content['train_grad_norm'].items():
        # where the true gradient is zero, both hold rounding errors of about 1e-17
        np.testing.assert_allclose(
            parameter(key).grad.norm().item(), norm, rtol=1e-9, atol=1e-12 * largest, err_msg=key)


def classifier(config):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(
            dict(type='ImageClassifier', backbone=config, neck=dict(type='GlobalAveragePooling'),
                 head=dict(type='LinearClsHead', num_classes=1000, in_channels=2048)))


def test_mrla_l50_equals_the_released_code():
    content, tensors, images = fixture('imagenet_mrla_l50')
    converted, config = converter.convert(tensors)
    assert config == dict(type='mmdla.MRLAResNet', depth=50)
    model = classifier(config).double()
    model.load_state_dict(converted, strict=True)
    parameters = dict(model.named_parameters())
    assert_parity(
        content, images, model, model, lambda key: parameters[
            f'head.{key}' if key.startswith('fc.') else f'backbone.{converter.rename(key)}'])


@pytest.mark.parametrize('name', CIFAR)
def test_light_layers_equal_the_released_code_on_cifar(name):
    """The same layers on a CIFAR trunk put together here."""
    base, kwargs = CIFAR[name]

    class Trunk(base):
        arch_settings = {20: (BottleneckBranch, (2, 2, 2))}

    content, tensors, images = fixture(name)
    backbone = Trunk(20, stem_channels=16, base_channels=16, num_stages=3, strides=(1, 2, 2),
                     dilations=(1, 1, 1), out_indices=(2, ), **kwargs)
    backbone.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
    backbone.maxpool = nn.Identity()
    modules = nn.ModuleDict(dict(backbone=backbone, fc=nn.Linear(256, 100))).double()
    names = {key: key if key.startswith('fc.') else f'backbone.{converter.rename(key)}'
             for key in tensors}
    modules.load_state_dict({
        names[key]: value.flatten() if key.endswith('lambda_t') else value
        for key, value in tensors.items()})
    parameters = dict(modules.named_parameters())
    assert_parity(
        content, images, modules, lambda x: modules['fc'](backbone(x)[0].mean((2, 3))),
        lambda key: parameters[names[key]])


def released_dla(form, reduction, excite):
    """A random DLA-L-50 and its tensors as an ImageNet or an mmdetection checkpoint has them."""
    model = DLAResNet(50, context_unit=dict(type='DSU', gates='split', reduction=reduction))
    inner = r'attention.\1.layer_attention'
    renames = [
        (r'\.(\d+\.(?:conv|bn|down))', r'.layers.\1'),
        (r'attention\.layers\.(\d+)\.lambda_t', rf'{inner}.lambda_t'),
        (r'attention\.layers\.(\d+)\.(q|k|v)\w+\.', rf'{inner}.layer_attention.W\2.'),
        (r'attention\.norms\.(\d+)', r'attention.\1.bn_layer_attention'),
        (r'attention\.context_unit\.from_input', 'lstm.w_ih.0.seq'),
        (r'attention\.context_unit\.from_context', 'lstm.w_hh.0.seq'),
        (r'attention\.excite', excite),
    ]
    if form == 'imagenet':
        renames.append((r'layer(\d)\.', lambda match: f'stages.{int(match[1]) - 1}.'))
    tensors = {}
    for key, value in model.state_dict().items():
        for pattern, name in renames:
            key = re.sub(pattern, name, key, count=1)
        tensors[key] = value[:, None, None] if key.endswith('lambda_t') else value
    if form == 'imagenet':
        tensors.update({'fc.weight': torch.randn(1000, 2048), 'fc.bias': torch.randn(1000)})
    else:
        tensors = {f'backbone.{key}': value for key, value in tensors.items()}
        tensors['roi_head.bbox_head.fc_cls.weight'] = torch.randn(81, 1024)
    return model, tensors


@pytest.mark.parametrize('form, excite, reduction, prefix, wrapped', [
    ('imagenet', 'excite', 16, 'module.', True),
    ('imagenet', 'extict', 20, '', False),
    ('mmdet', 'excite', 20, '', True),
])
def test_dla_l50_layouts(tmp_path, monkeypatch, capsys, form, excite, reduction, prefix, wrapped):
    model, tensors = released_dla(form, reduction, excite)
    tensors = {prefix + key: value for key, value in tensors.items()}
    torch.save(dict(epoch=1, state_dict=tensors) if wrapped else tensors, tmp_path / 'in.pth')
    for option, count in (((), len(tensors)), (('--backbone-only', ), len(model.state_dict()))):
        out = tmp_path / 'out' / 'converted.pth'
        monkeypatch.setattr(sys, 'argv', ['', str(tmp_path / 'in.pth'), str(out), *option])
        converter.main()
        printed = capsys.readouterr().out
        assert f'converted {count} tensors' in printed
        assert f"'gates': 'split', 'reduction': {reduction}" in printed
        again = DLAResNet(50, context_unit=dict(type='DSU', gates='split', reduction=reduction))
        load_backbone(again, str(out))
        for key, value in model.state_dict().items():
            assert torch.equal(again.state_dict()[key], value), key
    assert not out.with_name('converted.pth.partial').exists()


@pytest.mark.parametrize('change, words', [
    (lambda t: t.update({'layer1.0.se.fc.weight': torch.zeros(1)}), 'layer1.0.se.fc.weight'),
    (lambda t: t.pop('layer1.0.bn_mrla.weight'), 'missing .layer1.attention.norms.0.weight'),
    (lambda t: t.pop('fc.bias'), 'fc.bias is missing'),
    (lambda t: t.pop('layer2.3.conv1.weight'), r'stages of \(3, 3, 6, 3\) blocks'),
    (lambda t: t.update({'layer1.0.mrla.mrla.Wq.weight': torch.zeros(1, 1, 3)}), 'another shape'),
], ids=['unknown', 'missing', 'fc', 'depth', 'kernel'])
def test_unknown_and_missing_tensors_are_listed(change, words):
    _, tensors, _ = fixture('imagenet_mrla_l50')
    change(tensors)
    with pytest.raises(UserError, match=words):
        converter.convert(tensors)
