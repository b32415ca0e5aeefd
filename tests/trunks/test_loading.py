"""Starts of every trunk: its host's checkpoints, mmdet's detectors, classifiers of other libraries."""
import pytest
import torch
from mmdet.models import backbones as mmdet
from zoo import PRE_NORM, TRUNKS, alive, build, build_host

from mmdla.errors import UserError
from mmdla.registry import MODELS


def save(tmp_path, tensors, prefix=''):
    path = tmp_path / 'start.pth'
    torch.save({prefix + name: tensor for name, tensor in tensors.items()}, path)
    return dict(type='Pretrained', checkpoint=str(path))


def start(trunk, init_cfg, form='dla_l', **kwargs):
    return build(trunk, form, attention_init='zero', init_cfg=init_cfg, **kwargs)


def same(model, other, x):
    model.eval(), other.eval()
    assert all(torch.equal(out, ref) for out, ref in zip(model(x), other(x)))


@pytest.mark.parametrize('prefix', [
    'backbone.', *(pytest.param(prefix, marks=pytest.mark.full) for prefix in ('', 'module.backbone.'))])
@pytest.mark.parametrize('trunk', TRUNKS)
def test_starts_from_its_hosts_checkpoint(trunk, prefix, tmp_path):
    host = alive(build_host(trunk))
    same(start(trunk, save(tmp_path, host.state_dict(), prefix)), host, torch.randn(2, 3, 64, 96))


@pytest.mark.parametrize('trunk', TRUNKS)
def test_a_partial_match_stops(trunk, tmp_path):
    tensors = build_host(trunk).state_dict()
    model = build(trunk, 'dla_l')
    stage = next(i for i, attention in enumerate(model.attention) if attention.num_layers > 1)
    block = model.block_name(stage, 1)
    name = f'{block}.{next(name for name, _ in model.get_submodule(block).named_parameters())}'
    init_cfg = save(tmp_path, {key: tensor for key, tensor in tensors.items() if key != name})
    with pytest.raises(UserError, match=f'1 missing .{name}') as error:
        start(trunk, init_cfg)
    assert '\n' not in str(error.value)
    with pytest.raises(UserError, match='1 unknown .extra'):
        start(trunk, save(tmp_path, {**tensors, 'extra': torch.zeros(1)}))


@pytest.mark.parametrize('trunk', TRUNKS)
def test_the_plain_checkpoint_needs_a_zero_start(trunk, tmp_path):
    with pytest.raises(UserError, match='it is of the plain network: set attention_init=\'zero\''):
        build(trunk, 'dla_l', init_cfg=save(tmp_path, build_host(trunk).state_dict()))


ALL = dict(out_indices=(0, 1, 2, 3))
# of mmdet's classes of the same name: their arguments, and ours
OF_MMDET = {
    'ResNet': (dict(depth=50), dict(depth=50)),
    'ResNetV1d': (dict(depth=50), dict(depth=50)),
    'ResNeXt': (dict(depth=50, groups=32, base_width=4), ) * 2,
    'Res2Net': (dict(depth=50), dict(depth=50, pool_at_stride_1=False)),
    'ResNeSt': (dict(depth=50, stem_channels=64, radix=2, reduction_factor=4), dict(depth=50)),
    'RegNet': (dict(arch='regnetx_400mf'), dict(arch='regnetx_400mf')),
    'MobileNetV2': (dict(out_indices=(1, 2, 4, 6)), ) * 2,
    'EfficientNet': (dict(arch='b0', out_indices=(2, 3, 4, 5)), ) * 2,
}


@pytest.mark.parametrize('name', OF_MMDET)
def test_is_mmdets_network_and_takes_its_checkpoint(name, tmp_path):
    """A detector's backbone: ours are built on mmpretrain's classes, which differ in names only."""
    theirs, ours = OF_MMDET[name]
    host = alive(getattr(mmdet, name)(**{**ALL, **theirs}))
    model = MODELS.build(dict(
        type=f'mmdla.{name}', interaction=dict(type='mmdla.MRLALight'), attention_init='zero',
        init_cfg=save(tmp_path, host.state_dict(), 'backbone.'), **{**ALL, **ours}))
    model.init_weights()
    model.eval(), host.eval()
    for out, ref in zip(model(x := torch.randn(1, 3, 64, 97)), host(x)):
        torch.testing.assert_close(out, ref, rtol=1e-4, atol=1e-5)


def test_mmdets_res2net_is_another_one(tmp_path):
    """It does not pool at stride 1, which no shape tells, but the names of its stem do."""
    of_mmdet = save(tmp_path, mmdet.Res2Net(depth=50).state_dict(), 'backbone.')
    cfg = dict(type='mmdla.Res2Net', depth=50, init_cfg=of_mmdet)
    assert MODELS.build(dict(cfg, pool_at_stride_1=False)).is_init
    with pytest.raises(UserError, match='of mmdet\'s Res2Net, .* set pool_at_stride_1=False'):
        MODELS.build(dict(cfg, pool_at_stride_1=True))


def test_a_classifier_of_torchvision_starts_a_detectors_swin(tmp_path, monkeypatch):
    """Norms of the outputs that a classifier does not have keep their start, and that is said."""
    from torchvision.models import swin_t
    theirs, said = alive(swin_t().eval()), []
    monkeypatch.setattr('mmdla.pretrained.print_log', lambda text, *args: said.append(text))
    model = MODELS.build(dict(
        type='mmdla.DetSwinTransformer', interaction=dict(type='mmdla.DLALight'), attention_init='zero',
        drop_path_rate=0., init_cfg=save(tmp_path, theirs.state_dict())))
    model.init_weights()
    assert 'names of torchvision' in said[0] and '6 of norms of outputs' in said[0]
    x = torch.randn(1, 3, 448, 448)
    out = theirs.norm(theirs.features(x)).permute(0, 3, 1, 2)
    torch.testing.assert_close(model.eval()(x)[3], out, rtol=1e-4, atol=1e-4)


def test_only_norms_of_outputs_may_be_missing_and_only_all_of_them(tmp_path):
    trunk = 'DetSwinTransformer'
    tensors = build_host(trunk).state_dict()
    classifier = {name: tensor for name, tensor in tensors.items() if not name.startswith('norm0.')}
    start(trunk, save(tmp_path, classifier))
    with pytest.raises(UserError, match='1 missing .norm0.bias'):
        start(trunk, save(tmp_path, {**classifier, 'norm0.weight': tensors['norm0.weight']}))
    with pytest.raises(UserError, match='2 missing .norm1.weight'):
        start(trunk, save(tmp_path, {name: tensor for name, tensor in tensors.items()
                                     if not name.startswith('norm1.')}))
    start(trunk, save(tmp_path, tensors), out_indices=(0, ))


@pytest.mark.parametrize('trunk', ['SwinTransformer', 'DetSwinTransformer'])
def test_position_biases_of_other_windows_are_resized(trunk, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr('mmdla.pretrained.print_log', lambda text, *args: said.append(text))
    host = alive(build_host(trunk))
    init_cfg = save(tmp_path, host.state_dict())
    model = start(trunk, init_cfg, window_size=6)
    table = model.stages[0].blocks[0].attn.w_msa.relative_position_bias_table
    before = host.stages[0].blocks[0].attn.w_msa.relative_position_bias_table
    assert before.shape == (49, 1) and table.shape == (121, 1)
    torch.testing.assert_close(table.mean(), before.mean(), rtol=0.1, atol=0.05)
    model(torch.randn(1, 3, 64, 64))
    assert '10 resized for other images or windows' in said[0]


def test_positions_of_another_image_size_are_resized(tmp_path):
    host = alive(build_host('ViTSAM'))
    larger = build_host('ViTSAM', img_size=96)
    larger.load_state_dict(host.state_dict())
    model = start('ViTSAM', save(tmp_path, host.state_dict()), img_size=96)
    same(model, larger, torch.randn(1, 3, 96, 96))


@pytest.mark.parametrize('trunk', [trunk for trunk in TRUNKS if trunk not in PRE_NORM])
def test_a_base_form_with_a_layer_scale_starts_from_the_plain_checkpoint(trunk, tmp_path):
    host = alive(build_host(trunk))
    form = dict(type='mmdla.MRLABase', layer_scale=True)
    same(start(trunk, save(tmp_path, host.state_dict()), form), host, torch.randn(1, 3, 64, 96))


def test_what_is_not_built_is_left_aside(tmp_path):
    """EfficientNet and MobileNets end with the last output that is asked for."""
    for trunk in ('EfficientNet', 'MobileNetV2', 'MobileNetV3'):
        host = build_host(trunk)
        model = start(trunk, save(tmp_path, host.state_dict()))
        assert model.unbuilt and not any(name.startswith(model.unbuilt) for name in model.state_dict())
        assert any(name.startswith(model.unbuilt) for name in host.state_dict())
