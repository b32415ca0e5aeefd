"""One contract for every form of layer attention on every trunk."""
import pytest
import torch
from torch import nn
from zoo import (
    FORMS,
    PRE_NORM,
    TRUNKS,
    UNITS,
    alive,
    build,
    build_host,
    total,
    zero_start,
)

from mmdla.attention import Interaction
from mmdla.engine.fuse import fuse
from mmdla.errors import UserError
from mmdla.registry import MODELS

close = torch.testing.assert_close
every_trunk = pytest.mark.parametrize('trunk', TRUNKS)


def forms(*default, of=FORMS):
    """These in the default tier, all with --full."""
    return pytest.mark.parametrize('form', [
        pytest.param(form, marks=() if form in default else pytest.mark.full) for form in of])


some_forms, one_form = forms('dla_l', 'dla_b', 'lii'), forms('dla_l')
# what takes seconds each: ResNet (test_resnet.py) and a trunk of another kind, all with --full
KINDS = ('ConvNeXt', )
a_trunk_of_another_kind = pytest.mark.parametrize('trunk', [
    pytest.param(trunk, marks=() if trunk in KINDS else pytest.mark.full) for trunk in TRUNKS])


def without_gradient(model):
    return [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


@every_trunk
@some_forms
def test_shapes_and_gradients(trunk, form):
    """Odd sizes; every parameter gets a gradient, so that DistributedDataParallel has none unused."""
    model, x = alive(build(trunk, form)), torch.randn(2, 3, 65, 97)
    outs = model(x)
    assert [out.shape for out in outs] == [out.shape for out in build_host(trunk)(x)]
    total(outs).backward()
    assert without_gradient(model) == []


@every_trunk
@pytest.mark.parametrize('form', ['dla_l', pytest.param('dla_b', marks=pytest.mark.full)])
@pytest.mark.parametrize('unit', [
    pytest.param(unit, marks=() if unit == 'lstm' else pytest.mark.full) for unit in UNITS])
def test_every_context_unit(trunk, form, unit):
    model = build(trunk, {**FORMS[form], 'context_unit': UNITS[unit], 'initial_context': 'learned'})
    total(model(torch.randn(2, 3, 64, 64))).backward()
    assert without_gradient(model) == []


@every_trunk
@forms('mrla_b', 'dla_l', of=('plain', 'mrla_l', 'mrla_b', 'dla_l', 'dla_b'))
def test_zero_init_is_the_host_bit_for_bit_and_trains(trunk, form):
    host, interaction = alive(build_host(trunk)), zero_start(trunk, form)
    model = build(trunk, interaction, **(dict(attention_init='zero') if interaction else {}))
    tensors = {name: tensor for name, tensor in host.state_dict().items()
               if not name.startswith(model.ignored_prefixes or ('attention.', ))}
    missing, unknown = model.load_state_dict(tensors, strict=False)
    assert unknown == [] and all(name.startswith('attention.') for name in missing)
    x = torch.randn(2, 3, 65, 97)
    for mode in (False, True):
        model.train(mode), host.train(mode)
        outs, expected = model(x), host(x)
        assert all(torch.equal(out, other) for out, other in zip(outs, expected))
    total(model(x)).backward()
    for attention in model.attention:
        for name in ('scales', ) if getattr(attention, 'scales', None) else ('norms', 'shortcut_norms'):
            for layer in getattr(attention, name, ()):
                assert getattr(layer, 'weight', layer).grad.any(), name


@pytest.mark.parametrize('trunk', [trunk for trunk in TRUNKS if trunk not in PRE_NORM])
@pytest.mark.parametrize('form', ['mrla_b', 'dla_b'])
def test_base_forms_with_a_relu_need_a_layer_scale_to_start_at_zero(trunk, form):
    with pytest.raises(UserError, match='base forms with layer_scale=True'):
        build(trunk, form, attention_init='zero')


@every_trunk
@some_forms
def test_outputs_of_a_batch_are_those_of_its_samples(trunk, form):
    model, x = alive(build(trunk, form)).double().eval(), torch.randn(3, 3, 64, 48).double()
    for whole, *parts in zip(model(x), *(model(sample[None]) for sample in x)):
        close(whole, torch.cat(parts), rtol=1e-11, atol=1e-11)


FROZEN = {  # host's argument: stages, or runs of blocks, that it freezes whole
    **{name: (1, [0]) for name in TRUNKS
       if 'Res' in name or name in ('RegNet', 'ConvNeXt', 'ConvNeXtV2')},
    'SwinTransformer': (0, [0]), 'DetSwinTransformer': (1, [0]),
    'EfficientNet': (3, [0]), 'EfficientNet-EdgeTPU': (3, [0]), 'MobileNetV2': (3, [0, 1]),
    'MobileNetV3': (4, [0]), 'VisionTransformer': (2, []), 'ViTSAM': (2, []),
}


@pytest.mark.parametrize('trunk', FROZEN)
@forms('dla_l')
def test_attention_of_frozen_blocks_is_frozen_at_construction(trunk, form):
    count, stages = FROZEN[trunk]
    model, host = build(trunk, form, frozen_stages=count), build_host(trunk, frozen_stages=count)
    host.train()
    expected = {name: p.requires_grad for name, p in host.named_parameters()}
    for _ in ('at construction', 'in training'):
        for name, p in model.named_parameters():
            if not name.startswith('attention.'):
                assert p.requires_grad == expected[name], name
        for stage, attention in enumerate(model.attention):
            layers = {name: attention.layer_of(name) for name, _ in attention.named_parameters()}
            for name, p in attention.named_parameters():
                blocks = [model.get_submodule(model.block_name(stage, layer)) for layer in (
                    range(attention.num_layers) if layers[name] is None else [layers[name]])]
                assert p.requires_grad == any(q.requires_grad for b in blocks for q in b.parameters())
            assert attention.training != (stage in stages)
        assert model.train() is model and model.training
    assert model.eval() is model and not any(m.training for m in model.modules())


@pytest.mark.parametrize('trunk', FROZEN)
def test_parts_of_frozen_blocks_in_one_run(trunk):
    """Norms of layer attention stop with their blocks, too."""
    model = build(trunk, 'dla_l', frozen_stages=FROZEN[trunk][0]).train()
    for stage, attention in enumerate(model.attention):
        for layer, norm in enumerate(attention.norms):
            block = model.get_submodule(model.block_name(stage, layer))
            assert norm.training == block.training


@every_trunk
@forms('dla_b')
def test_gradient_checkpointing_changes_nothing(trunk, form):
    plain, saving = alive(build(trunk, form)).eval(), build(trunk, form, with_cp=True).eval()
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for model in (plain, saving):
        total(model(x)).backward()
    for (name, p), again in zip(plain.named_parameters(), saving.parameters()):
        close(again.grad, p.grad, msg=name)


@every_trunk
@one_form
@pytest.mark.parametrize('dtype', [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.full)])
def test_autocast(trunk, form, dtype):
    model, host = alive(build(trunk, form)), alive(build_host(trunk))
    x, errors = torch.randn(4, 3, 64, 64), []
    for net in (host, model):
        reference = net(x)
        with torch.autocast('cpu', dtype):
            outs = net(x)
            total(outs).backward()
        errors.append([(out.float() - ref).norm() / ref.norm() for out, ref in zip(outs, reference)])
    for of_host, own in zip(*errors):  # BN of few values carries bfloat16's rounding on
        assert own < 0.1 or own < 2 * of_host
    assert without_gradient(model) == []
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


@a_trunk_of_another_kind
@one_form
def test_compiles_without_graph_breaks(trunk, form):
    model, x = alive(build(trunk, form)).double().eval(), torch.randn(2, 3, 64, 64).double()
    torch._dynamo.reset()
    compiled = torch.compile(model, backend='aot_eager', fullgraph=True)
    for out, ref in zip(compiled(x), model(x)):
        close(out, ref, rtol=1e-9, atol=1e-9)
    total(compiled(x)).backward()
    assert without_gradient(model) == []


@a_trunk_of_another_kind
@one_form
def test_traces_and_exports(trunk, form):
    model, x = alive(build(trunk, form)).eval(), torch.randn(2, 3, 64, 64)
    for again in (torch.jit.trace(model, x), torch.export.export(model, (x, )).module()):
        for out, ref in zip(again(x), model(x)):
            close(out, ref, rtol=1e-4, atol=1e-5)


@a_trunk_of_another_kind
@one_form
def test_exports_with_any_batch_where_the_host_does(trunk, form):
    x, other = torch.randn(2, 3, 64, 64), torch.randn(5, 3, 64, 64)
    shapes = ({0: torch.export.Dim('batch')}, )
    try:
        torch.export.export(build_host(trunk).eval(), (x, ), dynamic_shapes=shapes)
    except Exception as error:
        pytest.skip(f'the host does not: {type(error).__name__}')
    model = alive(build(trunk, form)).eval()
    exported = torch.export.export(model, (x, ), dynamic_shapes=shapes).module()
    for out, ref in zip(exported(other), model(other)):
        close(out, ref, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@every_trunk
@one_form
def test_fused_networks_compute_the_same(trunk, form):
    model, x = alive(build(trunk, form)).double().eval(), torch.randn(2, 3, 64, 64).double()
    for name, buffer in model.named_buffers():
        if 'running_var' in name:
            nn.init.uniform_(buffer, 0.5, 1.5)
    before = model(x)
    for out, ref in zip(fuse(model)(x), before):
        close(out, ref, rtol=1e-8, atol=1e-9)


@every_trunk
def test_names_of_the_trunk_are_the_hosts(trunk):
    model = build(trunk, 'dla_l')
    ours = {name: t.shape for name, t in model.state_dict().items() if not name.startswith('attention.')}
    theirs = {name: t.shape for name, t in build_host(trunk).state_dict().items()
              if not name.startswith(model.ignored_prefixes or ('attention.', ))}
    assert ours == theirs


@every_trunk
def test_every_block_of_a_stage_is_named(trunk):
    model = build(trunk, 'dla_l')
    blocks = [model.get_submodule(model.block_name(stage, layer)) for stage, attention in
              enumerate(model.attention) for layer in range(attention.num_layers)]
    assert len(set(blocks)) == len(blocks) > 2


def test_a_stage_of_one_block_stays_without_dla_b():
    model = build('RegNet', 'dla_b')
    assert [(type(a) is Interaction, a.num_layers) for a in model.attention] == [
        (a.num_layers == 1, a.num_layers) for a in model.attention]
    assert any(a.num_layers == 1 for a in model.attention)


def test_heads_divide_the_channels_of_every_stage():
    for trunk, dim in (('MobileNetV3', 8), ('ConvNeXt', 16)):
        model = build(trunk, 'mrla_l')
        assert {attention.dim_per_head for attention in model.attention} == {dim}
        assert model.non_shape_arguments['dim_per_head'] == dim
    with pytest.raises(UserError, match='dim_per_head=32 does not divide a stage of 24'):
        build('MobileNetV3', dict(type='mmdla.MRLALight', dim_per_head=32))


@pytest.mark.parametrize(
    'trunk', [trunk for trunk in TRUNKS if 'Res' not in trunk and trunk != 'RegNet'])
def test_rla_is_refused_off_the_resnets(trunk):
    with pytest.raises(UserError, match='widens the blocks of a ResNet, which .* cannot'):
        build(trunk, dict(type='mmdla.RLA'))


@every_trunk
def test_unknown_arguments_are_refused(trunk):
    for name, words in (('depht', ''), ('pretrained', ': it is init_cfg=dict'),
                        ('dcn', ': deformable convolutions are not supported'),
                        ('stage_with_dcn', ': deformable'), ('contract_dilation', '')):
        with pytest.raises(UserError, match=f'has no argument {name}{words}'):
            build(trunk, 'dla_l', **{name: 'x'})
    build(trunk, 'dla_l', pretrained=None)
    with pytest.raises(UserError, match='init_cfg is a dict with type'):
        build(trunk, 'dla_l', init_cfg='x.pth')


@pytest.mark.parametrize('type_, argument, other', [
    ('SwinTransformer', dict(embed_dims=96), 'mmdla.DetSwinTransformer'),
    ('DetSwinTransformer', dict(arch='tiny'), 'mmdla.SwinTransformer')])
def test_arguments_of_the_other_swin(type_, argument, other):
    with pytest.raises(UserError, match=f"type='{other}'"):
        MODELS.build(dict(type=f'mmdla.{type_}', **argument))


def test_outputs_of_stages_that_are_not_there():
    with pytest.raises(UserError, match=r'out_indices=\(1, 2\) are not all of the 2 stages'):
        build('ConvNeXt', 'dla_l', out_indices=[1, 2])
    for trunk, last in (('ResNet', 1), ('RegNet', 3), ('SwinTransformer', 1), ('DetSwinTransformer', 1),
                        ('PyramidVisionTransformer', 1), ('PyramidVisionTransformerV2', 3)):
        for given in ((last + 1, ), (-1, ), 0):
            with pytest.raises(UserError, match=f'must be a tuple of stages, from 0 to {last}'):
                build(trunk, 'dla_l', out_indices=given)


@pytest.mark.parametrize('trunk', [trunk for trunk in TRUNKS if trunk not in PRE_NORM])
def test_attention_trains_where_the_norms_of_the_trunk_do_not(trunk):
    """As in mmdet's configs of caffe's ResNets, whose BN has no gradient: gammas of 0 must move."""
    kind = dict(type='LN2d', eps=1e-6) if 'ConvNeXt' in trunk else dict(type='BN')
    model = build(trunk, 'dla_l', attention_init='zero', norm_cfg=dict(**kind, requires_grad=False))
    total(alive(model)(torch.randn(2, 3, 64, 64))).backward()
    norms = [norm for attention in model.attention for norm in attention.norms]
    assert all(norm.weight.grad is not None and norm.weight.grad.any() for norm in norms)


@every_trunk
def test_layer_wise_learning_rates_are_the_hosts(trunk):
    """Attention has that of its block; where the host has none, a sentence says so."""
    model, host = build(trunk, 'dla_l'), build_host(trunk)
    name = f'{model.block_name(0, 1)}.weight'
    if not hasattr(host, 'get_layer_depth'):
        with pytest.raises(UserError, match='has no layer-wise learning rates'):
            model.get_layer_depth(name)
        return
    try:
        expected = host.get_layer_depth(f'backbone.{name}', 'backbone.')
    except (NotImplementedError, IndexError):
        pytest.skip('the host has none for this depth')
    assert model.get_layer_depth('backbone.attention.0.norms.1.weight', 'backbone.') == expected


def test_base_forms_attend_to_the_whole_stage_of_tokens():
    """Groups of four blocks are for trunks of one stage."""
    for trunk, group in (('DetSwinTransformer', 3), ('PyramidVisionTransformerV2', 3), ('ViTSAM', 4)):
        attention = max(build(trunk, 'mrla_b').attention, key=lambda attention: attention.num_layers)
        assert attention.group == group


def test_a_strided_block_begins_a_run():
    """Even where the block before it has the same width, as in narrow MobileNets."""
    model = build('MobileNetV2', 'dla_l', widen_factor=0.35, out_indices=(0, 2))
    assert model.layer1[0].conv[-1].conv.out_channels == model.layer2[0].conv[-1].conv.out_channels
    assert model.runs == [['layer2.0', 'layer2.1'], ['layer3.0', 'layer3.1', 'layer3.2']]
