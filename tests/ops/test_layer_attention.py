"""The fast paths of mmdla.ops against the reference: values, gradients, statistics."""
import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from torch import nn

from mmdla import ops
from mmdla.models import DLAResNet, MRLAResNet
from mmdla.ops.backend import kernels

needs_kernels = pytest.mark.skipif(
    kernels() is None, reason='the C++ kernels are not built: python -m mmdla.ops.build')
FAST = ['folded', pytest.param('kernels', marks=needs_kernels)]
SHAPES = [(2, 8, 7, 7), (1, 8, 5, 9), (3, 16, 1, 3), (2, 8, 20, 33), (1, 8, 2, 2), (5, 8, 14, 14)]
TOLERANCE = dict(rtol=1e-9, atol=1e-9)


def norm_of(channels, mode, dtype):
    norm = nn.BatchNorm2d(channels).to(dtype)
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return norm.train(mode != 'eval')


def light_inputs(shape, dtype, gate=True, excite=True):
    batch, channels = shape[:2]
    sizes = dict(branch=shape, shortcut=shape, value=(channels, 1, 3, 3), score=(batch, channels),
                 decay=(channels, ), gate=(batch, channels), excite=(channels, 1, 3, 3))
    tensors = {name: torch.randn(size, dtype=dtype) for name, size in sizes.items()}
    if not gate:
        tensors['gate'] = None
    if not excite:
        tensors['excite'] = None
    return tensors


def light_layer(branch, shortcut, value, score, decay, gate, excite, norm, drop_path):
    """A layer whose factors depend on the means, as in the network."""
    x, o, y, z = ops.residual(branch * 1, shortcut * 1, both=gate is not None)
    score = score * y
    gate = gate if gate is None else gate + z
    return (ops.light_attention(x, o, value, score, decay, gate, excite, norm, drop_path), )


def base_layers(branch, shortcut, value, score, decay, gate, excite, norm, drop_path):
    """Three layers over shared maps; the last map has a use of its own."""
    values, out = (), shortcut * 1
    for index in range(3):
        x, _, y, _ = ops.residual(branch * (index + 1), out * 0.5)
        weights = torch.stack([score * y + t for t in range(index + 1)], 1)
        out, values = ops.base_attention(x, value * (index + 1), weights, values, norm, drop_path)
    return out, values[1] if decay is None else values[-1].mean((2, 3))


def depthwise(x, weight):
    """The 3x3 convolution with zeros around, one shifted map a weight."""
    height, width = x.shape[2:]
    padded = F.pad(x, (1, 1, 1, 1))
    return sum(weight[:, :, i, j, None] * padded[:, :, i:i + height, j:j + width]
               for i in range(3) for j in range(3))


def base_definition(branch, shortcut, value, score, decay, gate, excite, norm, drop_path):
    """``base_layers`` by Eq. 2, written out."""
    values, out = [], shortcut
    for index in range(3):
        x = F.relu(branch * (index + 1) + out * 0.5)
        weights = score * x.flatten(2).mean(2)
        values.append(depthwise(x, value * (index + 1)))
        attended = sum((weights + t)[:, :, None, None] * v for t, v in enumerate(values))
        out = x + drop_path(F.relu(norm(attended)))
    return out, values[1] if decay is None else values[-1].mean((2, 3))


# the light form's folded and C++ paths against its reference, which tests/models/layers compares with
# the paper; the base form has one path in PyTorch
PATHS = [(light_layer, 'folded'), (base_layers, 'reference'),
         *(pytest.param(layer, 'kernels', marks=needs_kernels) for layer in (light_layer, base_layers))]
paths = pytest.mark.parametrize('layer, how', PATHS)


def run(layer, how, tensors, norm, drop_rate=0.0, seed=0):
    """Outputs, gradients by name, and running statistics."""
    norm.zero_grad()
    before = {key: value.clone() for key, value in norm.state_dict().items()}
    torch.manual_seed(seed)
    leaves = {name: None if t is None else t.clone().requires_grad_() for name, t in tensors.items()}
    drop_path = DropPath(drop_rate)
    with ops.use(how):
        outputs = layer(**leaves, norm=norm, drop_path=drop_path)
        loss = sum((out * torch.sin(torch.arange(out.numel()).view(out.shape))).sum() for out in outputs)
        loss.backward()
    found = {f'output {i}': out.detach() for i, out in enumerate(outputs)}
    found.update({name: leaf.grad for name, leaf in leaves.items() if leaf is not None})
    found.update({f'norm.{name}': p.grad.clone() for name, p in norm.named_parameters()})
    found.update({name: buffer.clone() for name, buffer in norm.named_buffers()})
    norm.load_state_dict(before)
    return found


def expect(layer, *args, **kwargs):
    return run(base_definition if layer is base_layers else layer, 'reference', *args, **kwargs)


def compare(found, expected, **tolerance):
    assert found.keys() == expected.keys()
    for name in found:
        assert (found[name] is None) == (expected[name] is None), name
        if found[name] is not None:
            torch.testing.assert_close(
                found[name], expected[name], msg=lambda m, n=name: f'{n}: {m}', **tolerance)


@pytest.mark.parametrize('mode', ['eval', 'train'])
@pytest.mark.parametrize('shape', SHAPES, ids=str)
@paths
def test_every_path_is_the_definition(layer, how, shape, mode):
    tensors, norm = light_inputs(shape, torch.float64), norm_of(shape[1], mode, torch.float64)
    compare(run(layer, how, tensors, norm), expect(layer, tensors, norm), **TOLERANCE)


@pytest.mark.parametrize('mode', ['eval', 'train'])
@pytest.mark.parametrize('gate, excite', [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize('how', FAST)
def test_light_forms(how, gate, excite, mode):
    tensors = light_inputs((2, 8, 6, 5), torch.float64, gate, excite)
    norm = norm_of(8, mode, torch.float64)
    expected = run(light_layer, 'reference', tensors, norm)
    compare(run(light_layer, how, tensors, norm), expected, **TOLERANCE)


@pytest.mark.parametrize('mode', ['eval', 'train'])
@paths
def test_drop_path_drops_the_same_samples(how, layer, mode):
    """In training, with norms that train and, as in detectors, with frozen ones."""
    tensors, norm = light_inputs((6, 8, 4, 4), torch.float64), norm_of(8, mode, torch.float64)
    expected = expect(layer, tensors, norm, drop_rate=0.5, seed=3)
    compare(run(layer, how, tensors, norm, drop_rate=0.5, seed=3), expected, **TOLERANCE)


def plain_gamma(norm):
    nn.init.zeros_(norm.weight)


def cumulative(norm):
    norm.momentum = None


@pytest.mark.parametrize('change', [plain_gamma, cumulative], ids=lambda f: f.__name__)
@pytest.mark.parametrize('mode', ['eval', 'train'])
@paths
def test_unusual_batch_norms(how, layer, mode, change):
    tensors, norm = light_inputs((2, 8, 5, 4), torch.float64), norm_of(8, mode, torch.float64)
    change(norm)
    compare(run(layer, how, tensors, norm), expect(layer, tensors, norm), **TOLERANCE)


@pytest.mark.parametrize('norm', [
    nn.GroupNorm(2, 8), nn.BatchNorm2d(8, affine=False), nn.SyncBatchNorm(8).eval(), nn.Identity(),
    nn.BatchNorm2d(8, track_running_stats=False).eval()], ids=lambda n: type(n).__name__)
@paths
def test_other_norms(how, layer, norm):
    tensors, norm = light_inputs((2, 8, 5, 4), torch.float64), norm.double()
    compare(run(layer, how, tensors, norm), expect(layer, tensors, norm), **TOLERANCE)


@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, dict(rtol=1e-3, atol=1e-4)),
                                              (torch.bfloat16, dict(rtol=0.1, atol=0.15)),
                                              (torch.float16, dict(rtol=0.02, atol=0.03))], ids=str)
@pytest.mark.parametrize('mode', ['eval', 'train'])
@pytest.mark.parametrize('how', FAST)
def test_lower_precision_is_near_float64(how, mode, dtype, tolerance):
    shape = (2, 8, 9, 6)
    tensors = {n: t.to(dtype) for n, t in light_inputs(shape, torch.float64).items()}
    norm = norm_of(8, mode, torch.float64)
    expected = run(light_layer, 'reference', {n: t.double() for n, t in tensors.items()}, norm)
    out = run(light_layer, how, tensors, norm.float())
    assert out['output 0'].dtype == dtype and out['branch'].dtype == dtype
    for name in ('output 0', 'branch'):
        scale = expected[name].abs().max()
        torch.testing.assert_close(out[name].double() / scale, expected[name] / scale, **tolerance)


@paths
def test_other_layouts_and_empty_batches_take_the_reference(how, layer):
    tensors, norm = light_inputs((2, 8, 6, 5), torch.float64), norm_of(8, 'eval', torch.float64)
    expected = expect(layer, tensors, norm)
    for change in (lambda t: t.to(memory_format=torch.channels_last),
                   lambda t: t.repeat_interleave(2, -1)[..., ::2]):
        changed = {**tensors, 'branch': change(tensors['branch'])}
        compare(run(layer, how, changed, norm), expected, **TOLERANCE)
    with ops.use(how):
        batched = ('branch', 'shortcut', 'score', 'gate')
        empty = {n: t[:0] if n in batched else t for n, t in tensors.items()}
        assert layer(**empty, norm=norm, drop_path=DropPath(0.0))[0].shape == (0, 8, 6, 5)


@pytest.mark.parametrize('how', ['reference', *FAST])
def test_not_a_number_stays_one(how):
    tensors, norm = light_inputs((1, 8, 4, 4), torch.float64), norm_of(8, 'eval', torch.float64)
    tensors['branch'][0, 2, 1, 1] = float('nan')
    tensors.update(gate=None, excite=None)
    with ops.use(how), torch.no_grad():
        out = light_layer(**tensors, norm=norm, drop_path=DropPath(0.0))[0]
    assert out[0, 2].isnan().any()


@needs_kernels
def test_gradients_that_others_hold_are_not_overwritten():
    tensors, norm = light_inputs((2, 8, 5, 4), torch.float64), norm_of(8, 'train', torch.float64)
    weight = torch.randn(2, 8, 5, 4, dtype=torch.float64)
    kept = {}
    for how in ('reference', 'kernels'):
        leaves = {name: t.clone().requires_grad_() for name, t in tensors.items()}
        given = weight.clone()
        with ops.use(how):
            x, o, _, _ = ops.residual(leaves['branch'] * 1, leaves['shortcut'] * 1)
            out = ops.light_attention(x, o, leaves['value'], leaves['score'], leaves['decay'],
                                      leaves['gate'], leaves['excite'], norm, DropPath(0.0))
        x.retain_grad()
        out.retain_grad()
        out.backward(given)
        torch.testing.assert_close(given, weight, rtol=0, atol=0)
        kept[how] = dict(out=out.grad, x=x.grad)
    compare(kept['kernels'], kept['reference'], **TOLERANCE)


@pytest.mark.parametrize('layer', [light_layer, base_layers])
@pytest.mark.parametrize('how', FAST)
@pytest.mark.parametrize('name', ['branch', 'shortcut', 'value', 'score'])
def test_one_gradient_of_several(name, how, layer):
    """As where the rest of a network is frozen."""
    tensors = light_inputs((2, 8, 5, 4), torch.float64)
    norm = norm_of(8, 'eval', torch.float64).requires_grad_(False)
    found = []
    for used in ('reference', how):
        leaf = tensors[name].clone().requires_grad_()
        with ops.use(used):
            out = layer(**{**tensors, name: leaf}, norm=norm, drop_path=DropPath(0.0))[0]
        found.extend(torch.autograd.grad((out * out.detach().cos()).sum(), leaf))
    torch.testing.assert_close(*found, **TOLERANCE)


@needs_kernels
def test_leaves_are_not_overwritten():
    branch = torch.randn(1, 4, 3, 3, requires_grad=True)
    before = branch.detach().clone()
    ops.residual(branch, torch.randn(1, 4, 3, 3))
    torch.testing.assert_close(branch.detach(), before, rtol=0, atol=0)


@needs_kernels
def test_views_and_values_that_autograd_needs():
    branch = torch.randn(2, 3, 4, 4, requires_grad=True)
    view = (branch * 1).view(1, 6, 4, 4)
    ops.residual(view, torch.ones(1, 6, 4, 4), both=True)[0].sum().backward()
    kept = torch.sigmoid(branch)
    ops.residual(kept, torch.ones(2, 3, 4, 4))[0].sum().backward()
    read = branch * 1
    square = read.square()
    with torch.no_grad():
        ops.residual(read, torch.ones(2, 3, 4, 4))
    with pytest.raises(RuntimeError, match='modified by an inplace operation'):
        square.sum().backward()


@needs_kernels
def test_gradients_reuse_memory():
    """In the backward pass one new map is made, for o: those of x and the branch lie in x's gradient."""
    branch = torch.randn(2, 3, 40, 40, requires_grad=True)
    with torch.profiler.profile(record_shapes=True) as profile:
        x, o, _, _ = ops.residual(branch * 1, branch * 1)
        out = ops.light_attention(x, o, torch.randn(3, 1, 3, 3), torch.rand(2, 3), torch.ones(3), None,
                                  None, nn.BatchNorm2d(3), DropPath(0.0))
        (out * 2).sum().backward()
    made = [event.cpu_parent.name for event in profile.events() if event.name == 'aten::empty_like'
            and event.cpu_parent is not None and event.input_shapes[0] == [2, 3, 40, 40]]
    assert [name.split('::')[-1] for name in made if 'CppNode' in name] == ['Light>']


@needs_kernels
def test_infinity_stays_in_its_channel():
    tensors, norm = light_inputs((1, 16, 5, 5), torch.float32), norm_of(16, 'eval', torch.float32)
    tensors['branch'][0, 8, 0, 4] = tensors['branch'][0, 8, 4, 0] = float('inf')
    leaves = {name: t.clone().requires_grad_() for name, t in tensors.items()}
    x, o, _, _ = ops.residual(leaves['branch'] * 1, leaves['shortcut'] * 1)
    for mode in (False, True):
        norm.train(mode)
        out = ops.light_attention(x * 1, o, leaves['value'], leaves['score'], leaves['decay'], None,
                                  None, norm, DropPath(0.0))
        loss = out[:, :4].sum() + out[:, 12:].sum()
        gradient, = torch.autograd.grad(loss, leaves['value'], retain_graph=True)
        assert gradient[torch.arange(16) != 8].isfinite().all()


@needs_kernels
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


@needs_kernels
def test_forward_mode_derivatives_see_the_reference():
    branch, tangent = torch.randn(2, 1, 4, 3, 3, dtype=torch.float64)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(branch, tangent)
        y = ops.residual(dual, torch.zeros_like(branch))[2]
        found = torch.autograd.forward_ad.unpack_dual(y).tangent
    torch.testing.assert_close(found, (tangent * (branch > 0)).mean((2, 3)))


@needs_kernels
def test_second_derivatives_are_refused_with_a_way_out():
    x = torch.randn(1, 4, 3, 3, requires_grad=True)
    out = ops.residual(x * 1, x * 1)[0]
    with pytest.raises(RuntimeError, match=r"mmdla.ops.use\('reference'\)"):
        torch.autograd.grad(out.sum(), x, create_graph=True)
    with ops.use('reference'):
        out = ops.residual(x * 1, x * 1)[0]
        torch.autograd.grad((out**2).sum(), x, create_graph=True)[0].sum().backward()


@pytest.mark.parametrize('how', ['reference', pytest.param('kernels', marks=needs_kernels)])
@pytest.mark.parametrize('layers, kernels_each, width', [(1, 2, 5), (3, 1, 3), (2, 2, 7)])
def test_channel_convolution_is_conv1d(how, layers, kernels_each, width):
    y = torch.randn(2, layers, 11, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(layers, kernels_each, width, dtype=torch.float64, requires_grad=True)
    with ops.use(how):
        out = ops.channel_convolution(y, weights)
    expected = F.conv1d(y, weights.flatten(0, 1)[:, None], padding=width // 2, groups=layers)
    torch.testing.assert_close(out, expected.view_as(out), **TOLERANCE)
    g = torch.randn_like(out)
    for found, wanted in zip(torch.autograd.grad(out, (y, weights), g),
                             torch.autograd.grad(expected, (y, weights), g.view_as(expected))):
        torch.testing.assert_close(found, wanted, **TOLERANCE)


@needs_kernels
@pytest.mark.parametrize('channels, dim, width', [(12, 4, 3), (64, 32, 5), (21, 7, 7)])
def test_self_score(channels, dim, width):
    shapes = ((3, channels), (2, width))
    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    results = []
    for how in ('reference', 'kernels'):
        with ops.use(how):
            out = ops.self_score(*inputs, dim)
        results.append((out, *torch.autograd.grad((out * out.detach().cos()).sum(), inputs)))
    for found, wanted in zip(*results):
        torch.testing.assert_close(found, wanted, **TOLERANCE)


@needs_kernels
@pytest.mark.parametrize('pre, c', [((2, 12), (2, 4)), ((2, 3, 12), (2, 3, 4)), ((2, 3, 12), (2, 1, 4))])
def test_gates(pre, c):
    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in (pre, c)]
    results = []
    for how in ('reference', 'kernels'):
        with ops.use(how):
            out = ops.gates(*inputs)
        results.append((out, *torch.autograd.grad((out * out.detach().cos()).sum(), inputs)))
    for found, wanted in zip(*results):
        torch.testing.assert_close(found, wanted, **TOLERANCE)


@pytest.mark.parametrize('backbone', [MRLAResNet, DLAResNet])
@pytest.mark.parametrize('variant', ['light', 'base'])
@pytest.mark.parametrize('how', FAST)
def test_whole_network_in_autocast_checkpointed_and_compiled(how, variant, backbone):
    torch.manual_seed(0)
    kwargs = dict(base_channels=16, dim_per_head=8)
    plain = backbone(50, variant, **kwargs)
    plain.init_weights()
    images = torch.randn(2, 3, 64, 48)
    checked = backbone(50, variant, with_cp=True, **kwargs)
    checked.load_state_dict(plain.state_dict())
    with ops.use('reference'):
        expected = plain.eval()(images)[0]
    with ops.use(how):
        torch.testing.assert_close(plain(images)[0], expected, rtol=1e-3, atol=1e-4)
        with torch.no_grad():
            torch.testing.assert_close(plain(images)[0], expected, rtol=1e-3, atol=1e-4)
        with torch.autocast('cpu', torch.bfloat16):
            half = plain(images)[0]
        assert half.dtype == torch.bfloat16
        assert (half.float() - expected).abs().max() < 0.1 * expected.abs().max()
        grads = []
        for model in (plain, checked):
            model.zero_grad()
            model.eval()(images.clone().requires_grad_())[0].sum().backward()
            grads.append({n: p.grad for n, p in model.named_parameters()})
        for name in grads[0]:
            torch.testing.assert_close(grads[1][name], grads[0][name], rtol=1e-4, atol=1e-4)
        traced = torch.jit.trace(plain, images, check_trace=False)
    torch.testing.assert_close(traced(images)[0], expected, rtol=1e-3, atol=1e-4)
    assert 'mmdla::' not in str(traced.inlined_graph)
