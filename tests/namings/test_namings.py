"""Networks of other libraries and the hosts' own compute the same with the renamed tensors."""
import re

import mmpretrain.models.backbones as mmpretrain
import pytest
import torch
from networks import CASES

from mmdla.namings import NAMINGS, namings_of, present
from mmdla.namings.swin import in_unfold_order


def randomise(model):
    """Values anywhere, none that a network starts with: norms and scales of layers among them."""
    generator = torch.Generator().manual_seed(0)
    statistics = [(name, value) for name, value in model.named_buffers() if 'running' in name]
    for name, value in [*model.named_parameters(), *statistics]:
        with torch.no_grad():
            if value.dim() > 1 and name.endswith('weight'):
                value.normal_(0, value[0].numel()**-0.5, generator=generator)
            elif name.endswith(('weight', 'running_var', 'gamma', 'layer_scale')):
                value.uniform_(0.5, 1.5, generator=generator)
            else:
                value.normal_(0, 0.2, generator=generator)
    return model.eval().double()


def source_of(case):
    model = randomise(case.source())
    tensors = model.state_dict()
    return model, case.release(tensors) if case.release else tensors


def build(case):
    """Without the hosts' initial weights, which no test needs."""
    host = case.host().double()
    host.eval()
    return host


def parameters():
    return [pytest.param(case, id=name, marks=[pytest.mark.full] if case.full else [])
            for name, case in CASES.items()]


@pytest.mark.full
@pytest.mark.parametrize('case', parameters())
def test_the_host_computes_the_same(case):
    model, tensors = source_of(case)
    host = build(case)
    given = dict(tensors)
    renamed, origin = present(tensors, namings_of(type(host)))
    assert origin == case.origin
    assert dict(tensors) == given
    if case.origin is None:
        renamed = {name: value for name, value in renamed.items() if not name.startswith('fc.')}
    buffers = {name: value.clone() for name, value in host.named_buffers() if name.endswith('index')}
    host.load_state_dict(renamed, strict=True)
    for name, value in buffers.items():
        assert torch.equal(value, renamed[name])
    x = torch.randn(1, 3, case.size, case.size, dtype=torch.float64)
    with torch.no_grad():
        expected = case.out(model, x)
        out = host(x)[-1]
    assert out.shape == expected.shape
    assert expected.std() > 1e-3 * expected.abs().max()
    assert (out - expected).abs().max() <= 1e-9 * expected.abs().max()


@pytest.mark.parametrize('case', parameters())
def test_names_of_the_host_are_left_as_they_are(case):
    host = case.host()
    own = {**host.state_dict(), 'attention.0.layers.0.value.weight': torch.zeros(1)}
    assert present(own, namings_of(type(host))) == (own, None)


def test_the_given_names_come_back_twice():
    """What is renamed has the host's names."""
    for name in ('timm resnet18d', 'timm regnetx_002', 'timm convnext_tiny', 'torchvision swin, mmdet',
                 'released pvt_v2', 'timm mobilenetv3_small_050', 'torchvision vit', 'timm samvit'):
        tensors, namings = CASES[name].source().state_dict(), namings_of(type(CASES[name].host()))
        renamed, origin = present(tensors, namings)
        assert origin and present(renamed, namings) == (renamed, None), name


@pytest.mark.parametrize('name, dropped', [
    ('timm resnet18d', 'fc.weight'),
    ('timm convnext_tiny', 'head.fc.weight'),
    ('torchvision convnext', 'classifier.2.weight'),
    ('timm swin, mmdet', 'head.fc.weight'),
    ('timm pvt_v2', 'head.weight'),
    ('timm mobilenetv3_small_050', 'conv_head.weight'),
    ('timm deit', 'head_dist.weight'),
    ('torchvision vit', 'heads.head.weight'),
])
def test_only_heads_are_dropped(name, dropped):
    case = CASES[name]
    tensors = case.source().state_dict()
    tensors.update({dropped: torch.zeros(2, 2), 'other.weight': torch.ones(1)})
    renamed, origin = present(tensors, namings_of(type(case.host())))
    assert origin == case.origin
    assert dropped not in renamed
    assert renamed['other.weight'] is tensors['other.weight']


def test_a_half_of_a_projection_is_no_projection():
    case = CASES['timm pvt_v2']
    tensors = case.source().state_dict()
    del tensors['stages.1.blocks.1.attn.q.weight'], tensors['stages.0.blocks.0.attn.kv.bias']
    renamed, _ = present(tensors, namings_of(type(case.host())))
    assert 'layers.1.1.1.attn.kv.weight' in renamed and 'layers.0.1.0.attn.q.bias' in renamed
    assert 'layers.1.1.1.attn.attn.in_proj_weight' not in renamed


def test_subclasses_have_their_hosts_namings():
    class Ours(mmpretrain.Res2Net):
        pass

    assert namings_of(Ours) is NAMINGS['Res2Net']
    assert namings_of(mmpretrain.ResNeSt) is NAMINGS['ResNet']
    assert namings_of(torch.nn.Module) == ()


def test_the_order_of_a_patch_merging():
    """Neighbours first down, then to the right, as the sources have them, against Unfold's order."""
    x = torch.randn(1, 5, 2, 2)
    theirs = torch.cat([x[:, :, i % 2, i // 2] for i in range(4)], 1)
    assert torch.equal(in_unfold_order(theirs)[..., None], torch.nn.functional.unfold(x, 2, stride=2))


@pytest.mark.parametrize('name', [
    'timm resnet18d', 'timm seresnet50', 'torchvision regnet_x_200mf', 'timm regnetx_002',
    'timm convnextv2_atto', 'torchvision convnext', 'timm swin, mmdet', 'torchvision swin, mmdet',
    'released pvt_v2', 'timm efficientnet_b0', 'torchvision efficientnet_b0', 'torchvision mobilenet_v2',
    'timm mobilenetv3_small_050', 'torchvision mobilenet_v3_small', 'timm deit', 'timm samvit'])
def test_a_network_for_another_host_does_no_harm(name):
    """No naming raises, nor does it give two tensors one name: the loader says what does not fit."""
    case = CASES[name]
    tensors = {**case.source().state_dict(), 'blocks.0.0.expand_conv.x': torch.zeros(1)}
    tensors = case.release(tensors) if case.release else tensors
    for namings in NAMINGS.values():
        present(tensors, namings)
        for naming in (naming for naming in namings if naming.fits(tensors)):
            kept = [each for each in tensors if not (naming.dropped and re.match(naming.dropped, each))]
            assert len(set(map(naming.rename, kept))) == len(kept)
