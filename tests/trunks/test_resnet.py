"""One contract for every backbone and variant."""
from functools import partial
from importlib.util import find_spec

import pytest
import torch
import torchvision
from mmengine.utils.dl_utils.parrots_wrapper import SyncBatchNorm
from mmpretrain.models import ResNet as HostResNet
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdla.attention import LayerAttention
from mmdla.models import DLAResNet
from mmdla.registry import MODELS

DSU = dict(type='DSU', reduction=8)
SPLIT = dict(type='DSU', form='split', reduction=8)
LIGHT = {
    'mrla_l': dict(type='mmdla.MRLAResNet', dim_per_head=16),
    'dla_l': dict(type='mmdla.DLAResNet', dim_per_head=16, context_unit=DSU),
    'dla_l_split': dict(type='mmdla.DLAResNet', dim_per_head=16, context_unit=SPLIT),
    'dla_l_no_excite_learned': dict(
        type='mmdla.DLAResNet', dim_per_head=16, context_unit=DSU, excite=False,
        initial_context='learned'),
    'dla_l_lstm': dict(
        type='mmdla.DLAResNet', dim_per_head=16, context_unit=dict(type='LSTM')),
}
BASE = {
    'mrla_b': dict(type='mmdla.MRLAResNet', variant='base'),
    'dla_b': dict(type='mmdla.DLAResNet', variant='base', context_unit=DSU),
    'dla_b_tokens': dict(
        type='mmdla.DLAResNet', variant='base', context_unit=SPLIT, refresh='tokens'),
    'dla_b_dia': dict(
        type='mmdla.DLAResNet', variant='base', context_unit=dict(type='DIA', reduction=8)),
    'dla_b_rnn_learned': dict(
        type='mmdla.DLAResNet', variant='base', context_unit=dict(type='RNN'),
        initial_context='learned'),
}
WITHOUT_ATTENTION = {
    'resnet': dict(type='mmdla.ResNet'),
    'dia': dict(type='mmdla.DIAResNet', context_unit=dict(reduction=8)),
    'lii_lstm': dict(type='mmdla.DIAResNet', context_unit=dict(type='LSTM')),
    'lii_dsu': dict(type='mmdla.DIAResNet', context_unit=DSU),
}


def plugin(cfg, **kwargs):
    return dict(type='mmdla.ResNet', plugins=[dict(cfg=cfg, **kwargs)])


COMPARISON = {
    'se': plugin(dict(type='mmdla.SE', reduction=8)),
    'eca': plugin(dict(type='mmdla.ECA')),
    'cbam': plugin(dict(type='mmdla.CBAM', reduction=8)),
    'a2': plugin(dict(type='mmdla.DoubleAttention'), position='after_block',
                 blocks=((), (1, ), (0, 1), ())),
    'aa': plugin(dict(type='mmdla.AAConv2d'), position='conv2', stages=(False, True, True, True),
                 per_stage=dict(size=(16, 8, 4, 2), pool=(1, 2, 1, 1))),
    'gc': plugin(dict(type='ContextBlock', ratio=1 / 4), stages=(False, True, True, True)),
    'nl': plugin(dict(type='NonLocal2d'), position='after_block', blocks=((), (-2, ), (-2, ), ())),
    'ba': plugin(dict(type='mmdla.BridgeAttention', reduction=8), position='bridge'),
    **({'timm': plugin(dict(type='mmdla.TimmAttention', name='se'))} if find_spec('timm') else {}),
    'rla': dict(type='mmdla.RLAResNet', hidden_channels=8),
    'dla_l_eca': dict(type='mmdla.DLAResNet', dim_per_head=16, context_unit=DSU,
                      plugins=[dict(cfg=dict(type='mmdla.ECA'))]),
}
GENERAL = dict(type='mmdla.ResNet', interaction=dict(
    type='mmdla.DLALight', dim_per_head=16, context_unit=SPLIT))
VARIANTS = {**LIGHT, **BASE, **WITHOUT_ATTENTION, **COMPARISON, 'general': GENERAL}
SMALL = dict(depth=50, base_channels=16, out_indices=(0, 1, 2, 3))


def build_with(config, **kwargs):
    model = MODELS.build({**config, **SMALL, **kwargs})
    model.init_weights()
    return model


@pytest.fixture(params=VARIANTS)
def build(request):
    return partial(build_with, VARIANTS[request.param])


@pytest.fixture(params={**LIGHT, **BASE})
def build_attention(request):
    return partial(build_with, VARIANTS[request.param])


def alive(model):
    """Parameters as after some training: residual and attention branches all count."""
    for name, p in model.named_parameters():
        if p.dim() == 1 and name.endswith('weight'):
            nn.init.uniform_(p, 0.5, 1)
        elif p.dim() > 1 and not p.any():
            nn.init.normal_(p, std=0.1)
    return model


def gradients(model):
    """By name; None where a parameter that is to be trained got none."""
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


close = torch.testing.assert_close


@pytest.mark.parametrize('size', [(64, 64), (65, 97), (33, 40)])
def test_outputs_and_gradients(build, size):
    model = alive(build())
    outs = model(torch.randn(2, 3, *size))
    side = [-(-s // 4) for s in size]
    for i, out in enumerate(outs):
        assert out.shape == (2, 64 * 2**i, *side)
        side = [-(-s // 2) for s in side]
    sum(out.square().mean() for out in outs).backward()
    assert [n for n, grad in gradients(model).items() if grad is None] == []
    # a softmax is the same whatever is added to all it is over: the first layer of a stage has but
    # one key, and GC's mask has a bias
    if any(attention.softmax for attention in model.attention if isinstance(attention, LayerAttention)):
        untrained = [n for n, grad in gradients(model).items() if grad.norm() < 1e-10]
        assert untrained == [f'attention.{i}.layers.0.query.weight' for i in range(4)]
    else:
        untrained = [n for n, grad in gradients(model).items() if grad.norm() < 1e-7]
        assert all(n.endswith(('conv_mask.bias', 'phi.conv.bias')) for n in untrained)


@pytest.mark.parametrize('depth', [
    18, *(pytest.param(depth, marks=pytest.mark.full) for depth in (34, 50, 101, 152))])
def test_depths(build, depth):
    outs = build(depth=depth).eval()(torch.randn(1, 3, 64, 64))
    expansion = 1 if depth < 50 else 4
    assert [o.shape[1] for o in outs] == [16 * expansion * 2**i for i in range(4)]


def test_outputs_of_a_batch_are_those_of_its_samples(build):
    model = alive(build()).double().eval()
    x = torch.randn(4, 3, 64, 48).double()
    for whole, *parts in zip(model(x), *(model(sample[None]) for sample in x)):
        close(whole, torch.cat(parts), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('batch', [0, 1])
def test_small_batches(build, batch, request):
    if batch == 0 and request.node.callspec.params['build'] == 'nl':
        pytest.skip('mmcv\'s NonLocal2d takes no empty batch')
    for out in build().eval()(torch.randn(batch, 3, 64, 64)):
        assert out.shape[0] == batch


def test_out_indices(build):
    outs = build(out_indices=(1, 3)).eval()(torch.randn(1, 3, 64, 64))
    assert [o.shape[1] for o in outs] == [128, 512]


@pytest.mark.parametrize('stages', [0, 1, 3])
def test_frozen_stages_are_frozen_at_construction(build, stages):
    model = build(frozen_stages=stages)
    frozen = ('conv1.', 'bn1.') + tuple(
        name for i in range(stages) for name in (f'layer{i + 1}.', f'attention.{i}.'))
    trained = gradients(build())
    for _ in ('at construction', 'in training'):
        for name, p in model.named_parameters():
            assert p.requires_grad == (name in trained and not name.startswith(frozen)), name
        assert model.train() is model and model.training
    for name, m in model.named_modules():
        if isinstance(m, _BatchNorm):
            assert m.training != f'{name}.'.startswith(frozen), name


def test_norm_eval(build):
    model = build(norm_eval=True).train()
    assert not any(m.training for m in model.modules() if isinstance(m, _BatchNorm))
    assert model.eval() is model


def test_norm_cfg_reaches_every_norm(build):
    model = build(norm_cfg=dict(type='SyncBN', requires_grad=True))
    norms = {name: m for name, m in model.named_modules() if isinstance(m, _BatchNorm)}
    plugins = tuple(f'{name}.' for name in model.plugin_layers())
    assert all(isinstance(m, SyncBatchNorm) for name, m in norms.items() if not name.startswith(plugins))
    build(norm_cfg=dict(type='GN', num_groups=4)).eval()(torch.randn(1, 3, 32, 32))


def test_gradient_checkpointing_changes_nothing(build):
    plain, saving = alive(build(norm_eval=True)), build(norm_eval=True, with_cp=True)
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for model in (plain, saving):
        model.train()
        sum(out.square().mean() for out in model(x)).backward()
    for (name, grad), again in zip(gradients(plain).items(), gradients(saving).values()):
        close(again, grad, msg=name)


@pytest.mark.parametrize('kwargs', [
    dict(deep_stem=True, avg_down=True),
    dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)),
    dict(style='caffe', in_channels=4, drop_path_rate=0.1),
    dict(num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2, )),
], ids=str)
def test_trunk_options(build, kwargs):
    model = build(**kwargs)
    out = model(torch.randn(2, kwargs.get('in_channels', 3), 64, 64))[-1]
    out.square().mean().backward()
    if 'strides' in kwargs and 'num_stages' not in kwargs:
        assert out.shape[-1] == 8
    assert None not in gradients(model).values()


def test_attention_drop_path_drops_the_attention_branch_in_training_only(build_attention):
    model = alive(build_attention(attention_drop_path=1 - 1e-6, norm_eval=True)).double()
    x = torch.randn(2, 3, 64, 64).double()
    whole, dropped = model.eval()(x)[-1], model.train()(x)[-1]
    for attention in model.attention:
        for norm in attention.norms:
            nn.init.zeros_(norm.weight)
    close(dropped, model.eval()(x)[-1])
    assert (dropped - whole).abs().max() > 0.01


@pytest.mark.parametrize('dtype, mode', [
    (torch.bfloat16, 'train'), (torch.float16, 'eval'),
    *(pytest.param(*pair, marks=pytest.mark.full) for pair in ((torch.bfloat16, 'eval'),
                                                              (torch.float16, 'train')))])
def test_autocast(build, dtype, mode):
    model = build().train(mode == 'train')
    x = torch.randn(4, 3, 64, 64)  # the last BN of fewer has too few values for 8 bits of mantissa
    reference = model(x)
    with torch.autocast('cpu', dtype):
        outs = model(x)
        sum(out.float().square().mean() for out in outs).backward()
    for out, ref in zip(outs, reference):
        assert (out.float() - ref).norm() < 0.1 * ref.norm()
    assert all(grad is not None and grad.isfinite().all() for grad in gradients(model).values())


def test_channels_last(build):
    model = alive(build()).double().eval()
    x = torch.randn(2, 3, 65, 48).double()
    reference = model(x)
    model = model.to(memory_format=torch.channels_last)
    for out, ref in zip(model(x.contiguous(memory_format=torch.channels_last)), reference):
        close(out, ref, rtol=1e-10, atol=1e-10)


def build_cifar(build, **kwargs):
    return alive(build(depth=20, trunk='cifar', out_indices=(2, ), **kwargs))


def test_cifar_trunk(build):
    model = build_cifar(build).double()
    x = torch.randn(3, 3, 31, 32).double()
    model(x)[0].square().mean().backward()
    assert None not in gradients(model).values()
    model.eval()
    close(model(x)[0], torch.cat([model(sample[None])[0] for sample in x]), rtol=1e-12, atol=1e-12)
    if not any('nonlocal_block' in name for name in model.plugin_layers()):  # takes no empty batch
        assert model(x[:0])[0].shape == (0, 256, 8, 8)
    with torch.autocast('cpu', torch.bfloat16):
        build_cifar(build, frozen_stages=1)(x.float())[0].float().mean().backward()


def compile_and_compare(model, x):
    """In one graph, values as without."""
    torch._dynamo.reset()
    compiled = torch.compile(model, backend='aot_eager', fullgraph=True)
    for out, ref in zip(compiled(x), model(x)):
        close(out, ref, rtol=1e-9, atol=1e-9)
    compiled(x)[-1].mean().backward()


@pytest.mark.full
def test_cifar_trunk_compiles(build):
    compile_and_compare(build_cifar(build).double().train(), torch.randn(3, 3, 31, 32).double())


# two stages hold whatever a variant does in a stage and from one to the next
TWO_STAGES = dict(depth=18, num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(0, 1))


# what differs in how it is traced; the others are variants of these, or plain layers
KINDS = ('mrla_l', 'dla_l_lstm', 'dla_b_tokens', 'ba', 'rla')
sizes = pytest.mark.parametrize('build, size', [
    *(pytest.param(name, TWO_STAGES, id=f'{name}-two_stages',
                   marks=() if name in KINDS else pytest.mark.full) for name in VARIANTS),
    *(pytest.param(name, dict(depth=18), id=f'{name}-whole', marks=pytest.mark.full)
      for name in VARIANTS),
], indirect=['build'])


@sizes
def test_traces_and_exports_with_any_batch(build, size):
    model = alive(build(**size)).eval()
    x, other = torch.randn(2, 3, 32, 32), torch.randn(5, 3, 32, 32)
    traced = torch.jit.trace(model, x)
    exported = torch.export.export(
        model, (x, ), dynamic_shapes=({0: torch.export.Dim('batch', max=64)}, ), strict=False).module()
    for again in (traced, exported):
        for out, ref in zip(again(other), model(other)):
            close(out, ref, rtol=1e-4, atol=1e-5)


@sizes
def test_compiles_without_graph_breaks(build, size):
    compile_and_compare(alive(build(**size)).double().train(), torch.randn(2, 3, 64, 64).double())


@pytest.mark.parametrize('build, size', [
    *(pytest.param(name, TWO_STAGES, id=f'{name}-two_stages') for name in ('dla_l', 'dla_b', 'rla')),
    *(pytest.param(name, dict(depth=18), id=f'{name}-whole', marks=pytest.mark.full)
      for name in VARIANTS),
], indirect=['build'])
def test_compiles_with_frozen_stages_and_norms(build, size):
    model = alive(build(**size, frozen_stages=1, norm_eval=True)).double().train()
    compile_and_compare(model, torch.randn(2, 3, 64, 64).double())


def test_parameter_names_of_the_trunk_are_torchvisions():
    ours = DLAResNet(50).state_dict()
    trunk = {k: v.shape for k, v in ours.items() if not k.startswith('attention.')}
    plain = torchvision.models.resnet50().state_dict()
    assert trunk == {k: v.shape for k, v in plain.items() if not k.startswith('fc.')}


def test_layer_depths_for_layerwise_learning_rates():
    model, plain = DLAResNet(50), HostResNet(50)
    for name, block in [('attention.2.layers.4.lambda_l', 'layer3.4.conv1.weight'),
                        ('attention.2.norms.4.weight', 'layer3.4.conv1.weight'),
                        ('attention.1.excite.weight', 'layer2.0.conv1.weight'),
                        ('attention.1.context.unit.expand.bias', 'layer2.0.conv1.weight'),
                        ('layer4.1.conv1.weight', 'layer4.1.conv1.weight')]:
        assert model.get_layer_depth(f'backbone.{name}', 'backbone.') == plain.get_layer_depth(
            f'backbone.{block}', 'backbone.')


def test_hooks_on_stages_and_blocks_fire(build):
    """As Grad-CAM and feature extractors need them; a stage's output is that of its attention."""
    model = build().eval()
    seen = {}
    last = f'layer4.{len(model.layer4) - 1}'
    for name in ('layer1', 'layer4', last):
        model.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: seen.update({name: output}))
    outs = model(torch.randn(1, 3, 64, 64))
    assert torch.equal(seen['layer1'], outs[0]) and torch.equal(seen['layer4'], outs[3])
    assert torch.equal(seen[last], seen['layer4'][:, :seen[last].shape[1]])
