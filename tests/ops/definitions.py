"""Layers written out by their equations, and the same layers with the operations of mmdla.ops."""
import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from torch import nn

from mmdla import ops
from mmdla.ops.backend import kernels

needs_kernels = pytest.mark.skipif(
    kernels() is None, reason='the C++ kernels are not built: python -m mmdla.ops.build')
FAST = ['folded', pytest.param('kernels', marks=needs_kernels)]
TOLERANCE = dict(rtol=1e-9, atol=1e-9)
BASE_LAYERS = 6  # the kernels add up four maps at a time


def norm_of(channels, mode, dtype):
    norm = nn.BatchNorm2d(channels).to(dtype)
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return norm.train(mode != 'eval')


def inputs_of(shape, dtype, refresh=True, excite=True):
    batch, channels = shape[:2]
    sizes = dict(branch=shape, shortcut=shape, value_weight=(channels, 1, 3, 3),
                 score=(batch, channels), lambda_l=(channels, ), d=(batch, channels),
                 excite_weight=(channels, 1, 3, 3))
    tensors = {name: torch.randn(size, dtype=dtype) for name, size in sizes.items()}
    if not refresh:
        tensors['d'] = None
    if not excite:
        tensors['excite_weight'] = None
    return tensors


def depthwise(x, weight):
    """The 3x3 convolution with zeros around, one shifted map a weight."""
    height, width = x.shape[2:]
    padded = F.pad(x, (1, 1, 1, 1))
    return sum(weight[:, :, i, j, None] * padded[:, :, i:i + height, j:j + width]
               for i in range(3) for j in range(3))


def light_equation(x, o, value_weight, score, lambda_l, d, excite_weight, norm, drop_path):
    """The last step of a light layer: refresh (DLA, Eq. 6), o_l (MRLA, Eq. 3), norm, sum."""
    past = o if d is None else o * d[:, :, None, None]
    if excite_weight is not None:
        past = past + depthwise(o, excite_weight)
    value = depthwise(x, value_weight)
    return x + drop_path(norm(lambda_l[:, None, None] * past + score[:, :, None, None] * value))


def light_step(x, o, *factors_norm_and_drop_path):
    """The same as a layer computes it."""
    norm = factors_norm_and_drop_path[-2]
    step = ops.light_attention if ops.light_is_fast(x, o, norm) else light_equation
    return step(x, o, *factors_norm_and_drop_path)


def light_layer(branch, shortcut, value_weight, score, lambda_l, d, excite_weight, norm, drop_path):
    """A layer whose score and refresh depend on the means, as in the network."""
    x, o, y, z = ops.add_relu_mean(branch * 1, shortcut * 1, both=d is not None)
    d = d if d is None else d + z
    return (light_step(x, o, value_weight, score * y, lambda_l, d, excite_weight, norm, drop_path), )


def light_definition(branch, shortcut, value_weight, score, lambda_l, d, excite_weight, norm,
                     drop_path):
    """``light_layer``, written out."""
    x = F.relu(branch + shortcut)
    score = score * x.flatten(2).mean(2)
    d = d if d is None else d + shortcut.flatten(2).mean(2)
    return (light_equation(
        x, shortcut, value_weight, score, lambda_l, d, excite_weight, norm, drop_path), )


def base_step(x, value_weight, weights, past, norm, drop_path):
    """The last step of a base layer as a layer computes it."""
    if ops.base_is_fast(x, past, norm):
        return ops.base_attention(x, value_weight, weights, past, norm, drop_path)
    values = (*past, F.conv2d(x, value_weight, padding=1, groups=x.shape[1]))
    return x + drop_path(F.relu(norm(ops.weighted_sum(weights, values)))), values


def base_layers(branch, shortcut, value_weight, score, lambda_l, d, excite_weight, norm, drop_path):
    """Layers over shared maps; a map is an output itself."""
    values, out = (), shortcut * 1
    for index in range(BASE_LAYERS):
        x, _, y, _ = ops.add_relu_mean(branch * (index + 1), out * 0.5)
        weights = torch.stack([torch.sin(score * y + t) for t in range(index + 1)], 1)
        out, values = base_step(x, value_weight / (index + 1), weights, values, norm, drop_path)
    return out, values[1] if lambda_l is None else values[-1].mean((2, 3))


def base_definition(branch, shortcut, value_weight, score, lambda_l, d, excite_weight, norm, drop_path):
    """``base_layers`` by MRLA, Eq. 2, written out."""
    values, out = [], shortcut
    for index in range(BASE_LAYERS):
        x = F.relu(branch * (index + 1) + out * 0.5)
        weights = score * x.flatten(2).mean(2)
        values.append(depthwise(x, value_weight / (index + 1)))
        attended = sum(torch.sin(weights + t)[:, :, None, None] * v for t, v in enumerate(values))
        out = x + drop_path(F.relu(norm(attended)))
    return out, values[1] if lambda_l is None else values[-1].mean((2, 3))


DEFINITIONS = {light_layer: light_definition, base_layers: base_definition}


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
    """What ``run`` gives for the layer's definition."""
    return run(DEFINITIONS[layer], 'reference', *args, **kwargs)


def compare(found, expected, **tolerance):
    assert found.keys() == expected.keys()
    for name in found:
        assert (found[name] is None) == (expected[name] is None), name
        if found[name] is not None:
            torch.testing.assert_close(
                found[name], expected[name], msg=lambda m, n=name: f'{n}: {m}', **tolerance)
