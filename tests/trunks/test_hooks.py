"""Forward hooks, as Grad-CAM sets them."""
import pytest
import torch

from mmdla.models import DLAResNet, MRLAResNet, ResNet

SMALL = dict(base_channels=16, stem_channels=16)
TARGETS = {
    'the last norm, the default of mmpretrain': lambda model: model.attention[-1].norms[-1],
    'the last block': lambda model: model.layer4[-1],
    'the last stage': lambda model: model.layer4,
    'the norm of the last block': lambda model: model.layer4[-1].norm2,
    'a part of the attention': lambda model: model.attention[-1].layers[-1].value,
}


def build(variant):
    cls, unit = (DLAResNet, dict(context_unit=dict(type='mmdla.DSU', reduction=8))
                 ) if variant.startswith('dla') else (MRLAResNet, {})
    return cls(18, variant.rpartition('_')[2], dim_per_head=16, **SMALL, **unit).eval()


@pytest.mark.parametrize('target', TARGETS)
@pytest.mark.parametrize('variant', ['dla_light', 'dla_base', 'mrla_light', 'mrla_base'])
def test_a_hook_gets_the_map_and_its_gradient(variant, target):
    """And nothing that the network returns changes."""
    model, images, seen = build(variant), torch.rand(2, 3, 64, 64), {}
    expected = model(images)[0]

    def hook(module, inputs, output):
        seen['map'] = output
        output.register_hook(lambda gradient: seen.update(gradient=gradient))

    handle = TARGETS[target](model).register_forward_hook(hook)
    out = model(images)[0]
    torch.testing.assert_close(out, expected)
    out.square().mean().backward()
    assert seen['map'].shape == seen['gradient'].shape == (2, 128, 2, 2)
    assert seen['gradient'].any()
    handle.remove()
    torch.testing.assert_close(model(images)[0], expected)


@pytest.mark.parametrize('variant', ['dla_light', 'mrla_base'])
def test_a_block_returns_what_the_next_one_reads(variant):
    model, maps = build(variant), []
    for block in model.layer4:
        block.register_forward_hook(lambda block, inputs, output: maps.append((inputs[0], output)))
    out = model(torch.rand(1, 3, 64, 64))[0]
    assert maps[1][0] is maps[0][1] and maps[1][1] is out


def test_a_block_by_itself_is_the_hosts():
    block = ResNet(18, **SMALL).eval().layer2[0]
    x = torch.randn(2, 16, 8, 8)
    branch = block.norm2(block.conv2(block.relu(block.norm1(block.conv1(x)))))
    torch.testing.assert_close(block(x), torch.relu(branch + block.downsample(x)))


@pytest.mark.parametrize('target', ['the last norm, the default of mmpretrain', 'the last block'])
def test_pytorch_grad_cam(target):
    cam = pytest.importorskip('pytorch_grad_cam')
    model = torch.nn.Sequential(build('dla_light'), Mean())
    with cam.GradCAM(model, [TARGETS[target](model[0])]) as method:
        assert method(torch.rand(1, 3, 64, 64), targets=None).shape == (1, 64, 64)


class Mean(torch.nn.Module):

    def forward(self, outs):
        return outs[0].mean((2, 3))
