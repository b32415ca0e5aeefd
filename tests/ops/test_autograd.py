"""What autograd and PyTorch's transforms see of mmdla.ops: memory, views, derivatives."""
import pytest
import torch
from definitions import TOLERANCE, compare, inputs_of, light_step, needs_kernels, norm_of
from mmcv.cnn.bricks import DropPath
from torch import nn

from mmdla import ops
from mmdla.models import MRLAResNet

pytestmark = needs_kernels


def test_gradients_that_others_hold_are_not_overwritten():
    tensors, norm = inputs_of((2, 8, 5, 4), torch.float64), norm_of(8, 'train', torch.float64)
    weight = torch.randn(2, 8, 5, 4, dtype=torch.float64)
    kept = {}
    for how in ('reference', 'kernels'):
        leaves = {name: t.clone().requires_grad_() for name, t in tensors.items()}
        given = weight.clone()
        with ops.use(how):
            x, o, _, _ = ops.add_relu_mean(leaves['branch'] * 1, leaves['shortcut'] * 1)
            out = light_step(x, o, leaves['value_weight'], leaves['score'], leaves['lambda_l'],
                             leaves['d'], leaves['excite_weight'], norm, DropPath(0.0))
        x.retain_grad()
        out.retain_grad()
        out.backward(given)
        torch.testing.assert_close(given, weight, rtol=0, atol=0)
        kept[how] = dict(out=out.grad, x=x.grad)
    compare(kept['kernels'], kept['reference'], **TOLERANCE)


def test_leaves_are_not_overwritten():
    branch = torch.randn(1, 4, 3, 3, requires_grad=True)
    before = branch.detach().clone()
    ops.add_relu_mean(branch, torch.randn(1, 4, 3, 3))
    torch.testing.assert_close(branch.detach(), before, rtol=0, atol=0)


def test_views_and_values_that_autograd_needs():
    branch = torch.randn(2, 3, 4, 4, requires_grad=True)
    view = (branch * 1).view(1, 6, 4, 4)
    ops.add_relu_mean(view, torch.ones(1, 6, 4, 4), both=True)[0].sum().backward()
    kept = torch.sigmoid(branch)
    ops.add_relu_mean(kept, torch.ones(2, 3, 4, 4))[0].sum().backward()
    read = branch * 1
    square = read.square()
    with torch.no_grad():
        ops.add_relu_mean(read, torch.ones(2, 3, 4, 4))
    with pytest.raises(RuntimeError, match='modified by an inplace operation'):
        square.sum().backward()


def test_gradients_reuse_memory():
    """In the backward pass one new map is made, for o: those of x and the branch lie in x's gradient."""
    branch = torch.randn(2, 3, 40, 40, requires_grad=True)
    with torch.profiler.profile(record_shapes=True) as profile:
        x, o, _, _ = ops.add_relu_mean(branch * 1, branch * 1)
        out = ops.light_attention(x, o, torch.randn(3, 1, 3, 3), torch.rand(2, 3), torch.ones(3), None,
                                  None, nn.BatchNorm2d(3), DropPath(0.0))
        (out * 2).sum().backward()
    made = [event.cpu_parent.name for event in profile.events() if event.name == 'aten::empty_like'
            and event.cpu_parent is not None and event.input_shapes[0] == [2, 3, 40, 40]]
    assert [name.split('::')[-1] for name in made if 'CppNode' in name] == ['Light>']


def test_infinity_stays_in_its_channel():
    tensors, norm = inputs_of((1, 16, 5, 5), torch.float32), norm_of(16, 'eval', torch.float32)
    tensors['branch'][0, 8, 0, 4] = tensors['branch'][0, 8, 4, 0] = float('inf')
    leaves = {name: t.clone().requires_grad_() for name, t in tensors.items()}
    x, o, _, _ = ops.add_relu_mean(leaves['branch'] * 1, leaves['shortcut'] * 1)
    for mode in (False, True):
        norm.train(mode)
        out = ops.light_attention(x * 1, o, leaves['value_weight'], leaves['score'], leaves['lambda_l'],
                                  None, None, norm, DropPath(0.0))
        loss = out[:, :4].sum() + out[:, 12:].sum()
        gradient, = torch.autograd.grad(loss, leaves['value_weight'], retain_graph=True)
        assert gradient[torch.arange(16) != 8].isfinite().all()


def test_transforms_see_the_reference():
    model = MRLAResNet(18, base_channels=16, dim_per_head=8).eval()
    images = torch.randn(1, 3, 32, 32)
    parameters = dict(model.named_parameters())

    def loss(parameters):
        return torch.func.functional_call(model, parameters, images)[0].sum()
    grads = torch.func.grad(loss)(parameters)
    expected = torch.autograd.grad(model(images)[0].sum(), list(parameters.values()))
    for found, wanted in zip(grads.values(), expected):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


def test_forward_mode_derivatives_see_the_reference():
    branch, tangent = torch.randn(2, 1, 4, 3, 3, dtype=torch.float64)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(branch, tangent)
        y = ops.add_relu_mean(dual, torch.zeros_like(branch))[2]
        found = torch.autograd.forward_ad.unpack_dual(y).tangent
    torch.testing.assert_close(found, (tangent * (branch > 0)).mean((2, 3)))


def test_second_derivatives_are_refused_with_a_way_out():
    x = torch.randn(1, 4, 3, 3, requires_grad=True)
    out = ops.add_relu_mean(x * 1, x * 1)[0]
    with pytest.raises(RuntimeError, match=r"mmdla.ops.use\('reference'\)"):
        torch.autograd.grad(out.sum(), x, create_graph=True)
    with ops.use('reference'):
        out = ops.add_relu_mean(x * 1, x * 1)[0]
        torch.autograd.grad((out**2).sum(), x, create_graph=True)[0].sum().backward()


@pytest.mark.parametrize('operation', ['add_relu_mean', 'light', 'base', 'score'])
def test_batches_of_gradients_are_refused_with_a_way_out(operation):
    def out():
        x = torch.randn(1, 4, 3, 3, requires_grad=True)
        if operation == 'score':
            return x, ops.self_score(x.mean((2, 3)), torch.ones(2, 3), 2)
        norm = nn.BatchNorm2d(4)
        if operation == 'add_relu_mean':
            return x, ops.add_relu_mean(x * 1, x * 1)[0]
        if operation == 'light':
            if not ops.light_is_fast(x, x, norm):
                return x, x + norm(x)
            return x, ops.light_attention(x * 1, x * 1, torch.randn(4, 1, 3, 3), torch.rand(1, 4),
                                          torch.ones(4), None, None, norm, DropPath(0.0))
        if not ops.base_is_fast(x, (), norm):
            return x, x + norm(x)
        return x, ops.base_attention(x * 1, torch.randn(4, 1, 3, 3), torch.rand(1, 1, 4), (), norm,
                                     DropPath(0.0))[0]
    x, found = out()
    batch = torch.randn(2, *found.shape)
    with pytest.raises(RuntimeError, match=r"takes no batch of gradients.*mmdla.ops.use\('reference'\)"):
        torch.autograd.grad(found, x, batch, is_grads_batched=True)
    with ops.use('reference'):
        x, found = out()
        torch.autograd.grad(found, x, batch, is_grads_batched=True)
