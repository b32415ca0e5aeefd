import pytest
import torch
import torchvision
from mmengine.config import Config

from mmdla.errors import UserError
from mmdla.literal_config import literal_config, whole_literal_config
from mmdla.models import DLAResNet, MRLAResNet, ResNet
from mmdla.pretrained import load_backbone

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
    monkeypatch.setattr('mmdla.pretrained.print_log', lambda text, *args: said.append(text))
    load(save(tmp_path, trained))
    plain = torchvision.models.resnet18().state_dict()
    load(save(tmp_path, plain), attention_init='zero')
    whole, trunk = len(trained), len(plain) - 2
    assert f'{whole} of {whole} tensors loaded' in said[0]
    assert f'{trunk} of {whole} tensors loaded' in said[1] and f'other {whole - trunk}' in said[1]


@pytest.mark.parametrize('change, words', [
    (lambda t: t.pop('attention.1.layers.1.value.weight'), '1 missing .attention.1.layers'),
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
    (dict(context_unit=dict(type='DSU', form='split', reduction=8)), 'missing'),
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


SMALL = dict(depth=18, stem_channels=32, base_channels=32, context_unit=UNIT)


def small(**kwargs):
    return DLAResNet(**{**SMALL, **kwargs})


SAME_SHAPES = [
    (dict(), dict(dim_per_head=16), 'dim_per_head=16, and this backbone has dim_per_head=32'),
    (dict(), dict(refresh_by='context'),
     "refresh_by='context', and this backbone has refresh_by='output'"),
    (dict(), dict(style='caffe'), "style='caffe'"),
    (dict(), dict(context_unit=dict(**UNIT, normalizer='tanh')),
     "context_unit.normalizer='tanh', and this .* context_unit.normalizer='sigmoid'"),
    (dict(variant='base', dim_per_head=16), dict(variant='base', refresh='tokens'),
     "refresh='tokens', and this backbone has refresh='features'"),
]


@pytest.mark.parametrize('own, theirs, words', SAME_SHAPES,
                         ids=[words.split('=')[0] for *_, words in SAME_SHAPES])
def test_another_argument_with_the_same_shapes_stops(tmp_path, own, theirs, words):
    """Whether the file is of tools/convert/ (meta['backbone']) or of mmengine (meta['cfg'])."""
    tensors = small(**theirs).state_dict()
    config = {'type': 'mmdla.DLAResNet', **SMALL, **theirs}
    for prefix, meta in (('', dict(backbone=config)),
                         ('backbone.', dict(cfg=f'model = dict(backbone={config!r})'))):
        path = save(tmp_path, {prefix + k: v for k, v in tensors.items()}, meta=meta)
        with pytest.raises(UserError, match=f'was trained with {words}.*: set ') as error:
            load_backbone(small(**own), path)
        assert '\n' not in str(error.value)
        load_backbone(small(**theirs), path)


@pytest.mark.parametrize('kwargs', [
    dict(dim_per_head=32, refresh_by='output', excite=True, variant='light', style='pytorch'),
    dict(context_unit=dict(reduction=8, form='joint', normalizer='sigmoid')),
    dict(out_indices=(0, 1), frozen_stages=1, norm_eval=True, with_cp=True, drop_path_rate=0.1,
         attention_drop_path=0.1, attention_init='one', zero_init_residual=False),
    dict(norm_cfg=dict(type='BN', requires_grad=False)),
    dict(strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
], ids=['defaults', 'defaults of the unit', 'the task', 'frozen norms', 'dilated'])
def test_arguments_of_the_task_and_defaults_may_differ(tmp_path, kwargs):
    path = save(tmp_path, small().state_dict(),
                meta=dict(backbone={'type': 'mmdla.DLAResNet', **SMALL}))
    load_backbone(small(**kwargs), path)


def test_a_file_that_says_nothing_of_its_backbone_is_taken(tmp_path):
    """Nor does it matter that another part of the file was trained otherwise."""
    other = dict(backbone={'type': 'mmdla.DLAResNet', **SMALL, 'dim_per_head': 16})
    tensors = small().state_dict()
    for meta in (None, {}, dict(cfg='model = dict('), dict(cfg='model = dict()'),
                 dict(backbone=dict(type='ResNet', depth=18))):
        load_backbone(small(), save(tmp_path, tensors, meta=meta))
    teacher = {f'teacher.{k}': v for k, v in tensors.items()}
    load_backbone(small(), save(tmp_path, teacher, meta=other), prefix='teacher')


def test_stages_that_are_not_built_are_left_aside(tmp_path):
    whole = small().state_dict()
    model = small(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1, ))
    load_backbone(model, save(tmp_path, whole))
    for name, value in model.state_dict().items():
        assert torch.equal(value, whole[name]), name


def test_a_backbone_of_another_version_stops(tmp_path):
    config = {'type': 'mmdla.DLAResNet', **SMALL, 'later': 1}
    path = save(tmp_path, small().state_dict(), meta=dict(backbone=config))
    with pytest.raises(UserError, match='cannot be built here .UserError: .*later.*use the version'):
        load_backbone(small(), path)


def test_a_plain_resnet_of_this_package_is_compared_in_what_both_have(tmp_path):
    trunk = dict(depth=18, stem_channels=32, base_channels=32)
    for style, stops in (('pytorch', False), ('caffe', True)):
        plain = dict(**trunk, style=style)
        path = save(tmp_path, ResNet(**plain).state_dict(),
                    meta=dict(backbone=dict(type='mmdla.ResNet', **plain)))
        if stops:
            with pytest.raises(UserError, match="style='caffe'"):
                load_backbone(small(attention_init='zero'), path)
        else:
            load_backbone(small(attention_init='zero'), path)


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(UserError, match='does not exist, from which the backbone starts: '
                       r'.*extract_backbone.py CLASSIFIER .*none.pth.*--cfg-options .* torchvision'):
        load(str(tmp_path / 'none.pth'))
    (tmp_path / 'text.pth').write_text('not a checkpoint')
    with pytest.raises(UserError, match='cannot be read'):
        load(str(tmp_path / 'text.pth'))
    with pytest.raises(UserError, match='holds no tensors'):
        load(save(tmp_path, dict(epoch=1)))


def test_the_base_form_is_not_told_to_start_from_zero(tmp_path):
    path = tmp_path / 'resnet.pth'
    torch.save(torchvision.models.resnet18().state_dict(), path)
    for file in (path, tmp_path / 'none.pth'):
        with pytest.raises(UserError) as error:
            load_backbone(MRLAResNet(18, 'base'), str(file))
        assert 'zero' not in str(error.value)


def test_the_config_in_a_checkpoint_is_never_run(tmp_path):
    ran = tmp_path / 'ran'
    text = ("model = dict(backbone=dict(type='mmdla.MRLAResNet', depth=18, dim_per_head=16))\n"
            f"import os; os.mkdir({str(ran)!r})\n")
    path = str(tmp_path / 'config.pth')
    torch.save(dict(meta=dict(cfg=text), state_dict=MRLAResNet(18).state_dict()), path)
    with pytest.raises(UserError, match='trained with dim_per_head=16'):
        load_backbone(MRLAResNet(18), path)
    torch.save(dict(meta=dict(cfg=f"model = __import__('os').mkdir({str(ran)!r})"),
                    state_dict=MRLAResNet(18).state_dict()), path)
    load_backbone(MRLAResNet(18), path)
    assert not ran.exists()


@pytest.mark.parametrize('name', ['imagenet/dla_b50_8xb32_in1k', 'imagenet/mrla_l_deit_tiny_8xb128_in1k',
                                  'mini/mask_rcnn_dla_l18_mini'])
def test_the_config_that_mmengine_writes_is_read(name):
    cfg = Config.fromfile(f'configs/{name}.py')
    assert literal_config(cfg.pretty_text, 'model') == cfg.model.to_dict()
    assert whole_literal_config(cfg.pretty_text) == cfg.to_dict()


@pytest.mark.parametrize('value', ['-' * 100_000 + '1', '[' * 1000 + ']' * 1000, '(' * 100 + '1'])
def test_a_config_that_is_nested_too_deep(value):
    with pytest.raises((SyntaxError, ValueError)):
        literal_config(f'model = {value}', 'model')


def test_a_classifier_is_no_backbone():
    with pytest.raises(UserError, match='Linear is no backbone of mmdla: give that of the network'):
        load_backbone(torch.nn.Linear(1, 1), 'none.pth')
