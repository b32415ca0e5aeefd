"""Released checkpoints through the converter, against outputs of the released code."""
import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from parity import recipe

from mmdla.errors import UserError
from mmdla.models import DLAResNet, MRLAResNet
from mmdla.pretrained import load_backbone

HERE = Path(__file__).parent
SCRIPT = HERE.parents[1] / 'tools' / 'convert' / 'released_to_mmdla.py'
spec = importlib.util.spec_from_file_location('released_to_mmdla', SCRIPT)
converter = importlib.util.module_from_spec(spec)
spec.loader.exec_module(converter)

CONFIGS = HERE.parents[1] / 'configs'
RELEASED = {
    'imagenet_mrla_l50': 'imagenet/mrla_l50_8xb32_in1k.py',
    'cifar_dia20': 'cifar/dia20_b128_cifar100.py',
    'cifar_mrla_b20': 'cifar/mrla_b20_b128_cifar100.py',
    'cifar_mrla_l20': 'cifar/mrla_l20_b128_cifar100.py',
    'cifar_dla_b20': 'cifar/dla_b20_split-r4-tokens_b128_cifar100.py',
    'cifar_dla_l20': 'cifar/dla_l20_split-r4_b128_cifar100.py',
    'deit_mrla_l_tiny': 'imagenet/mrla_l_deit_tiny_8xb128_in1k.py',
}


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


def classifier(name):
    """The config's model, without stochastic depth."""
    model = Config.fromfile(CONFIGS / name).model
    model.backbone.update(
        {key: 0.0 for key in ('attention_drop_path', 'drop_path_rate') if key in model.backbone})
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(model)


@pytest.mark.parametrize('name', RELEASED)
def test_equals_the_released_code(name):
    """Logits in eval and train mode and each parameter's gradient norm of mean(logits^2).

    The model is the config's, and then has the backbone that the converter prints.
    """
    content, tensors, images = fixture(name)
    converted, config = converter.convert(tensors)
    model = classifier(RELEASED[name]).double().eval()
    model.load_state_dict(converted, strict=True)
    assert_equal(model(images), content['eval'])
    model.backbone = MODELS.build(config).double().eval()
    model.load_state_dict(converted, strict=True)
    assert_equal(model(images), content['eval'])
    model.train()
    logits = model(images)
    assert_equal(logits, content['train'])
    logits.square().mean().backward()
    # rename() sees one key, which does not tell DLA's unit from DIANet's
    parameters = {name.replace('.context.unit.', '.context_unit.'): parameter
                  for name, parameter in model.named_parameters()}
    largest = max(content['train_grad_norm'].values())
    for key, norm in content['train_grad_norm'].items():
        ours = converter.HEADS.get(key) or f'backbone.{converter.rename(key)}'
        # where the true gradient is zero, both hold rounding errors of about 1e-17
        np.testing.assert_allclose(
            parameters[ours].grad.norm().item(), norm, rtol=1e-9, atol=1e-12 * largest, err_msg=key)


def test_deep_stem_of_the_released_base_form():
    model = MRLAResNet(50, 'base', deep_stem=True)
    stem = {'stem.0.conv': 'conv1.0', 'stem.0.bn': 'conv1.1', 'stem.1.conv': 'conv1.3',
            'stem.1.bn': 'conv1.4', 'stem.2.conv': 'conv1.6', 'stem.2.bn': 'bn1'}
    tensors = {'fc.weight': torch.zeros(1000, 2048), 'fc.bias': torch.zeros(1000)}
    for key, value in model.state_dict().items():
        key = within_stage(key)
        for ours, theirs in stem.items():
            key = key.replace(ours, theirs)
        key = re.sub(r'layer(\d)\.', lambda m: f'stages.{int(m[1]) - 1}.', key)
        key = re.sub(r'attention\.layers\.(\d+)\.(q|k|v)\w+', r'\1.mrla.mrla.W\2', key)
        tensors[re.sub(r'attention\.norms\.(\d+)', r'\1.bn_mrla', key)] = value
    converted, config = converter.convert(tensors, backbone_only=True)
    assert config == dict(type='mmdla.MRLAResNet', depth=50, deep_stem=True, variant='base',
                          dim_per_head=16)
    assert all(torch.equal(converted[key], value) for key, value in model.state_dict().items())


def test_deit_base_form():
    content, tensors, _ = fixture('deit_mrla_l_tiny')
    tensors = {k: v for k, v in tensors.items() if 'normo' not in k and 'lambda_t' not in k}
    config = converter.convert(tensors)[1]
    assert config == dict(type='mmdla.MRLAVisionTransformer', arch='deit-tiny', variant='base')


def within_stage(key):
    """'attention.0.context.unit.x' to 'layer1.attention.context_unit.x'."""
    key = re.sub(r'^attention\.(\d)\.', lambda m: f'layer{int(m[1]) + 1}.attention.', key)
    return key.replace('context.unit', 'context_unit').replace('lambda_l', 'lambda_t')


def released_dla(form, reduction, excite):
    """A random DLA-L-50 and its tensors as an ImageNet or an mmdetection checkpoint has them."""
    model = DLAResNet(50, context_unit=dict(type='DSU', form='split', reduction=reduction))
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
        key = within_stage(key)
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
    ('imagenet', 'extict', 20, '', False),
    pytest.param('imagenet', 'excite', 16, 'module.', True, marks=pytest.mark.full),
    pytest.param('mmdet', 'excite', 20, '', True, marks=pytest.mark.full),
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
        assert f"'form': 'split', 'reduction': {reduction}" in printed
        again = DLAResNet(50, context_unit=dict(type='DSU', form='split', reduction=reduction))
        load_backbone(again, str(out))
        for key, value in model.state_dict().items():
            assert torch.equal(again.state_dict()[key], value), key
    assert not out.with_name('converted.pth.partial').exists()


@pytest.mark.parametrize('depth', [18, 50])
def test_torchvisions_resnet(depth, tmp_path, monkeypatch):
    """The same logits, in the classifier of our config and in its printed backbone."""
    theirs = getattr(torchvision.models, f'resnet{depth}')().double().eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    torch.save(theirs.state_dict(), tmp_path / 'in.pth')
    monkeypatch.setattr(sys, 'argv', ['', str(tmp_path / 'in.pth'), str(tmp_path / 'out.pth')])
    converter.main()
    converted = torch.load(tmp_path / 'out.pth', weights_only=True)
    assert converted['meta']['backbone'] == dict(type='mmdla.ResNet', depth=depth)
    model = classifier('comparison/resnet50_8xb32_in1k.py')
    model.backbone = MODELS.build(converted['meta']['backbone'])
    model.head.fc = torch.nn.Linear(*theirs.fc.weight.shape[::-1])
    model.double().eval().load_state_dict(converted['state_dict'], strict=True)
    images = torch.randn(2, 3, 64, 96).double()
    torch.testing.assert_close(model(images), theirs(images), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('change, words', [
    (lambda t: t.update({'layer1.0.se.fc.weight': torch.zeros(1)}), 'layer1.0.se.fc.weight'),
    (lambda t: t.pop('layer1.0.bn_mrla.weight'), 'missing .attention.0.norms.0.weight'),
    (lambda t: t.pop('fc.bias'), 'weight or bias is missing'),
    (lambda t: t.pop('layer2.3.conv1.weight'), r'stages of \(3, 3, 6, 3\) blocks'),
    (lambda t: t.update({'layer1.0.mrla.mrla.Wq.weight': torch.zeros(1, 1, 3)}), 'another shape'),
], ids=['unknown', 'missing', 'fc', 'depth', 'kernel'])
def test_unknown_and_missing_tensors_are_listed(change, words):
    _, tensors, _ = fixture('imagenet_mrla_l50')
    change(tensors)
    with pytest.raises(UserError, match=words):
        converter.convert(tensors)
