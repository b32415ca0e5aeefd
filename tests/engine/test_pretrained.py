import pytest
import torch
import torchvision

from mmdla.errors import UserError
from mmdla.models import DLAResNet, MRLAResNet

UNIT = dict(type='DSU', reduction=8)


def save(tmp_path, tensors, **around):
    path = str(tmp_path / 'checkpoint.pth')
    torch.save(dict(state_dict=tensors, **around) if around else tensors, path)
    return path


def load(path, cls=DLAResNet, prefix=None, **kwargs):
    init_cfg = dict(type='Pretrained', checkpoint=path)
    if prefix:
        init_cfg['prefix'] = prefix
    model = cls(18, init_cfg=init_cfg, **{'context_unit': UNIT, **kwargs} if cls is DLAResNet else {})
    model.init_weights()
    return model


@pytest.fixture(scope='module')
def trained():
    torch.manual_seed(1)
    return {k: torch.rand_like(v) if v.is_floating_point() else v
            for k, v in DLAResNet(18, context_unit=UNIT).state_dict().items()}


@pytest.mark.parametrize('prefix, head, around', [
    ('', {}, {}),
    ('backbone.', {'head.fc.weight': torch.zeros(10, 512)}, dict(meta={})),
    ('module.backbone.', {'module.neck.x': torch.zeros(1)}, dict(epoch=3)),
    ('', {'fc.weight': torch.zeros(10, 512), 'fc.bias': torch.zeros(10)}, {}),
], ids=['bare', 'classifier', 'ddp', 'torchvision style'])
def test_finds_the_backbone_by_itself(trained, tmp_path, prefix, head, around):
    path = save(tmp_path, {**{prefix + k: v for k, v in trained.items()}, **head}, **around)
    for name, value in load(path).state_dict().items():
        assert torch.equal(value, trained[name]), name


def test_named_prefix(trained, tmp_path):
    path = save(tmp_path, {f'teacher.{k}': v for k, v in trained.items()})
    assert torch.equal(load(path, prefix='teacher').conv1.weight, trained['conv1.weight'])


def test_says_how_many_tensors_matched(trained, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr('mmdla.engine.pretrained.print_log', lambda text, *args: said.append(text))
    load(save(tmp_path, trained))
    plain = torchvision.models.resnet18().state_dict()
    load(save(tmp_path, plain), attention_init='zero')
    whole, trunk = len(trained), len(plain) - 2
    assert f'{whole} of {whole} tensors loaded' in said[0]
    assert f'{trunk} of {whole} tensors loaded' in said[1] and f'other {whole - trunk}' in said[1]


@pytest.mark.parametrize('change, words', [
    (lambda t: t.pop('layer2.attention.layers.1.value.weight'), '1 missing .layer2.attention'),
    (lambda t: t.update(extra=torch.zeros(1)), '1 unknown .extra'),
    (lambda t: t.update({'conv1.weight': torch.zeros(64, 4, 7, 7)}),
     r'1 of another shape .conv1.weight \(64, 4, 7, 7\) instead of \(64, 3, 7, 7\)'),
], ids=['missing', 'unknown', 'shape'])
def test_a_partial_match_stops(trained, tmp_path, change, words):
    tensors = dict(trained)
    change(tensors)
    with pytest.raises(UserError, match=words) as error:
        load(save(tmp_path, tensors))
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('kwargs, words', [
    (dict(context_unit=dict(type='DSU', reduction=4)), 'of another shape'),
    (dict(context_unit=dict(type='DSU', gates='split', reduction=8)), 'missing'),
    (dict(cls=MRLAResNet), 'unknown'),
])
def test_another_layer_attention_stops(trained, tmp_path, kwargs, words):
    with pytest.raises(UserError, match=words):
        load(save(tmp_path, trained), **kwargs)


def test_an_ordinary_resnet_needs_zero_init(tmp_path):
    path = save(tmp_path, torchvision.models.resnet18().state_dict())
    with pytest.raises(UserError, match="set attention_init='zero'"):
        load(path)
    assert load(path, attention_init='zero')
    other = save(tmp_path, torchvision.models.resnet34().state_dict())
    with pytest.raises(UserError, match='unknown'):
        load(other, attention_init='zero')


def test_a_released_layout_is_recognised(tmp_path):
    path = save(tmp_path, {'layer1.0.mrla.lambda_t': torch.zeros(64, 1, 1)})
    with pytest.raises(UserError, match='released_to_mmdla'):
        load(path, cls=MRLAResNet)


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(UserError, match='does not exist: pretrain it .* --cfg-options .* torchvision'):
        load(str(tmp_path / 'none.pth'))
    (tmp_path / 'text.pth').write_text('not a checkpoint')
    with pytest.raises(UserError, match='cannot be read'):
        load(str(tmp_path / 'text.pth'))
    with pytest.raises(UserError, match='holds no tensors'):
        load(save(tmp_path, dict(epoch=1)))
