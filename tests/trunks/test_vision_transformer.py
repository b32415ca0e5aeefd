"""Vision transformers: the equations written out in tests/literal_vit.py, and the contract."""
import literal_vit
import pytest
import torch
from mmpretrain.models import ImageClassifier
from mmpretrain.models import VisionTransformer as HostVisionTransformer
from vision_transformers import ARCH, ATTENTION, SHALLOW, SMALL, VARIANTS, randomize

from mmdla.errors import UserError
from mmdla.models import DLAVisionTransformer, MRLAVisionTransformer
from mmdla.registry import MODELS


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize('arch, width, light, base', [
    ('deit-tiny', 192, 5749792, 5742880),
    ('deit-small', 384, 22115296, 22101472),
    ('deit-base', 768, 86696800, 86669152),
])
def test_parameters_are_the_papers(arch, width, light, base):
    head = dict(type='VisionTransformerClsHead', num_classes=1000, in_channels=width)
    for variant, expected in (('light', light), ('base', base)):
        with torch.device('meta'):
            model = ImageClassifier(
                dict(type='mmdla.MRLAVisionTransformer', arch=arch, variant=variant), head=head)
        assert count(model) == expected


def tokens_of(model, images):
    """The host's own part ahead of the blocks."""
    tokens, grid = model.patch_embed(images)
    if model.cls_token is not None:
        tokens = torch.cat([model.cls_token.expand(len(images), -1, -1), tokens], 1)
    return tokens + model.pos_embed, grid


DYN = 'mmdla.DLAVisionTransformer'


@pytest.mark.parametrize('config, literal', [
    (VARIANTS['light'], dict(variant='light')),
    ({**VARIANTS['light'], 'dim_per_head': 8, 'with_cls_token': False}, dict(variant='light', dim=8)),
    (VARIANTS['base'], dict(variant='base')),
    ({**VARIANTS['base'], 'dim_per_head': 8, 'with_cls_token': False}, dict(variant='base', dim=8)),
    (VARIANTS['dla'], dict(variant='dla')),
    (VARIANTS['dla_split_learned'], dict(variant='dla', form='split')),
    (dict(type=DYN, context_unit=dict(form='split', reduction=4)), dict(variant='dla', form='split')),
    (dict(type=DYN, refresh_by='context', context_unit=dict(normalizer='tanh', reduction=8)),
     dict(variant='dla', refresh_by='context', normalizer='tanh')),
    (VARIANTS['dla_base'], dict(variant='dla_base')),
    (VARIANTS['dla_base_tokens'], dict(variant='dla_base', form='split', refresh='tokens')),
    (VARIANTS['lii'], dict(variant='lii')),
    (dict(type=DYN, initial_context='learned', dim_per_head=8), dict(variant='dla', dim=8)),
], ids=str)
def test_is_the_equations(config, literal):
    size, blocks = (48, 32), 9 if 'base' in literal['variant'] else 4
    arch = {**ARCH, 'num_layers': blocks}
    model = randomize(MODELS.build({**config, **SMALL, 'img_size': size, 'arch': arch}))
    images = torch.randn(2, 3, *size).double()
    weight = torch.randn_like(model(images)[0])
    results = []
    for forward in (lambda x: model(x)[0],
                    lambda x: literal_vit.forward(model, *tokens_of(model, x), **literal)):
        model.zero_grad()
        leaf = images.clone().requires_grad_()
        out = forward(leaf)
        (out * weight).sum().backward()
        grads = {n: p.grad for n, p in model.named_parameters()}
        assert all(g is not None for g in grads.values())
        results.append(dict(out=out, images=leaf.grad, **grads))
    ours, expected = results
    for name in expected:
        scale = expected[name].abs().max().item()
        torch.testing.assert_close(ours[name], expected[name], rtol=1e-9, atol=1e-9 * scale + 1e-12,
                                   msg=lambda m, n=name: f'{n}: {m}')


@pytest.mark.parametrize('size', [(48, 80), (80, 48), (33, 71), (16, 16), (96, 96)])
def test_any_size(build, size):
    h, w = (-(-s // 16) for s in size)
    outs = build(out_type='featmap', out_indices=[0, 8])(torch.randn(2, 3, *size))
    assert [o.shape for o in outs] == [(2, 32, h, w)] * 2


@pytest.mark.parametrize('kwargs, shape', [
    (dict(out_type='raw'), (16, 32)),
    (dict(out_type='raw', with_cls_token=False), (15, 32)),
    (dict(out_type='cls_token'), (32, )),
    (dict(out_type='featmap'), (32, 3, 5)),
    (dict(out_type='featmap', with_cls_token=False), (32, 3, 5)),
    (dict(out_type='avg_featmap'), (32, )),
    (dict(pre_norm=True, final_norm=False, drop_rate=0.1, drop_path_rate=0.1), (16, 32)),
    (dict(patch_size=8, img_size=(24, 40), interpolate_mode='bilinear'), (61, 32)),
], ids=str)
@pytest.mark.parametrize('batch', [0, 1])
def test_options_and_small_batches(build, kwargs, shape, batch):
    model = build(arch=SHALLOW, **kwargs)
    out, = model(torch.randn(batch, 3, 48, 80))
    assert out.shape == (batch, *shape)
    out.sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p is not model.cls_token)


def test_feature_maps_are_the_patches_row_by_row(build):
    model = build(out_type='featmap').eval()
    x = torch.randn(2, 3, 48, 80)
    featmap, = model(x)
    assert torch.equal(featmap, HostVisionTransformer._format_output(model, *raw(model, x)))


def raw(model, x):
    model.out_type = 'raw'
    out, = model(x)
    model.out_type = 'featmap'
    return out, (3, 5)


def test_every_gradient_exists_with_a_class_token(build):
    """The last block's attention of the patches cannot reach it: zeros, so that DDP is content."""
    model = build(out_type='cls_token')
    model(torch.randn(2, 3, 48, 80))[0].square().sum().backward()
    unused = ('attention.0.layers.8.', 'attention.0.shortcut_norms.8.')
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        if name.startswith(unused):
            assert not p.grad.any(), name
        elif name.endswith('value.weight'):
            assert p.grad.any(), name


def test_outputs_of_a_batch_are_those_of_its_samples(build):
    model = randomize(build()).eval()
    x = torch.randn(4, 3, 64, 48).double()
    torch.testing.assert_close(
        model(x)[0], torch.cat([model(sample[None])[0] for sample in x]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast(build, dtype):
    model = build()
    x = torch.randn(2, 3, 48, 80)
    reference, = model(x)
    with torch.autocast('cpu', dtype):
        out, = model(x)
        out.float().square().mean().backward()
    assert (out.float() - reference).norm() < 0.1 * reference.norm()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_bfloat16_weights(build):
    model = build().to(torch.bfloat16)
    assert model(torch.randn(2, 3, 48, 80).bfloat16())[0].dtype == torch.bfloat16


@pytest.mark.parametrize('blocks', [-1, 0, 1, 5, 9])
def test_frozen_stages_are_frozen_at_construction(build, blocks):
    model = build(frozen_stages=blocks)
    host = HostVisionTransformer(**SMALL, frozen_stages=blocks)
    assert model.train() is model and model.training
    frozen = tuple(f'attention.0.{part}.{i}.' for i in range(blocks)
                   for part in ('layers', 'norms', 'shortcut_norms'))
    expected = {n: p.requires_grad for n, p in host.named_parameters()}
    for name, p in model.named_parameters():
        alive = not (name.startswith(frozen) or blocks == 9)
        assert p.requires_grad == expected.get(name, alive), name
    assert [block.training for block in model.layers] == [i >= blocks for i in range(9)]
    assert model.eval() is model and not any(m.training for m in model.modules())


@pytest.mark.parametrize('build', ['base', 'dla'], indirect=True)
def test_traces_and_exports_with_any_batch(build):
    model = build(arch=SHALLOW).eval()
    x, other = torch.randn(2, 3, 48, 80), torch.randn(5, 3, 48, 80)
    exported = torch.export.export(
        model, (x, ), dynamic_shapes=({0: torch.export.Dim('batch', max=64)}, ), strict=False).module()
    for again in (torch.jit.trace(model, x), exported):
        torch.testing.assert_close(again(other)[0], model(other)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('build', [
    pytest.param(name, marks=() if name in ('light', 'dla_base_tokens') else pytest.mark.full)
    for name in VARIANTS], indirect=True)
def test_compiles_without_graph_breaks(build):
    """In training with a DropPath that drops nothing."""
    model = randomize(build(arch=SHALLOW, drop_path_rate=1e-12))
    x = torch.randn(2, 3, 48, 80).double()
    torch._dynamo.reset()
    compiled = torch.compile(model, backend='aot_eager', fullgraph=True)
    out, = compiled(x)
    torch.testing.assert_close(out, model(x)[0], rtol=1e-9, atol=1e-9)
    out.mean().backward()


def test_layer_depths_for_layerwise_learning_rates():
    model, host = DLAVisionTransformer(ARCH, initial_context='learned'), HostVisionTransformer(ARCH)
    for name, other in [('attention.0.layers.4.lambda_l', 'layers.4.ln1.weight'),
                        ('attention.0.norms.5.weight', 'layers.5.ln1.weight'),
                        ('attention.0.shortcut_norms.8.bias', 'layers.8.ln1.weight'),
                        ('attention.0.context.unit.expand.bias', 'layers.0.ln1.weight'),
                        ('attention.0.excite.weight', 'layers.0.ln1.weight'),
                        ('attention.0.context.initial', 'layers.0.ln1.weight'),
                        ('layers.3.ln1.weight', 'layers.3.ln1.weight'),
                        ('pos_embed', 'pos_embed'), ('ln1.weight', 'ln1.weight')]:
        for prefix in ('', 'backbone.'):
            assert model.get_layer_depth(prefix + name, prefix) == host.get_layer_depth(
                prefix + other, prefix)
    assert model.get_layer_depth('head.attention.x', 'backbone.') == (10, 11)


def test_trunk_keeps_the_hosts_names():
    ours = MRLAVisionTransformer(ARCH).state_dict()
    trunk = {k: v.shape for k, v in ours.items() if not k.startswith('attention.')}
    assert trunk == {k: v.shape for k, v in HostVisionTransformer(ARCH).state_dict().items()}


@pytest.mark.parametrize('build', ATTENTION, indirect=True)
def test_random_start_of_the_config(build):
    init_cfg = dict(type='Constant', layer='Conv2d', val=0.25, bias=0.5)
    model = build(init_cfg=init_cfg)
    assert (model.patch_embed.projection.weight == 0.25).all() and model.pos_embed.std() > 0.01
    assert (model.attention[0].layers[0].value.weight == 0.25).all()


@pytest.mark.parametrize('kwargs, words', [
    (dict(arch='deit-huge'), "arch must be one of .*'deit-tiny'"),
    (dict(dim_per_head=36), 'dim_per_head=36 does not divide'),
    (dict(frozen_stages=13), 'frozen_stages=13 exceeds the 12 blocks'),
])
@pytest.mark.parametrize('cls', [MRLAVisionTransformer, DLAVisionTransformer])
def test_bad_arguments_get_one_sentence(cls, kwargs, words):
    with pytest.raises(UserError, match=words) as error:
        cls(**kwargs)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('cls, kwargs, words', [
    (MRLAVisionTransformer, dict(variant='huge'), "variant must be one of 'light', 'base'"),
    (DLAVisionTransformer, dict(refresh_by='tanh'), 'refresh_by must be one of'),
    (DLAVisionTransformer, dict(initial_context='random'), 'initial_context must be one of'),
    (DLAVisionTransformer, dict(context_unit=dict(reduction=300)), 'reduction=300'),
])
def test_bad_arguments_of_one_class(cls, kwargs, words):
    with pytest.raises(UserError, match=words):
        cls(**kwargs)


@pytest.mark.parametrize('unit', ['RNN', 'LSTM', 'DIA'])
def test_other_context_units(unit):
    model = DLAVisionTransformer(ARCH, context_unit=dict(type=unit))
    model(torch.randn(1, 3, 32, 32))[0].sum().backward()
    assert all(p.grad is not None for p in model.parameters())
