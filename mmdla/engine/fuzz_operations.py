"""The operations of mmdla.ops for a fuzz, and their plain definitions.

An operation is a class of three functions (no methods), listed in ``OPERATIONS``: ``draw`` gives the
shapes of its tensors and its settings, ``fast`` calls mmdla.ops, ``definition`` writes the equation
out. Both return their outputs by name, and what a ReLU is taken of, by the name of the output that it
makes.
"""
from types import SimpleNamespace
from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdla import ops


class FixedDropPath(nn.Module):
    """A DropPath that drops the samples it is told to."""

    def __init__(self, scale: Optional[Tensor]) -> None:
        super().__init__()
        self.scale, self.drop_prob = scale, 0.0 if scale is None else 0.5

    def forward(self, x: Tensor) -> Tensor:
        return x if self.scale is None else x * self.scale.to(x.dtype)[:, None, None, None]


def modules(t: SimpleNamespace, training: bool, eps: float) -> Tuple[nn.Module, nn.Module]:
    """The norm and the DropPath whose numbers the tensors are."""
    norm = nn.BatchNorm2d(len(t.gamma), eps=eps).train(training)
    norm.weight, norm.bias = t.gamma, t.beta
    norm.running_mean, norm.running_var = t.running_mean.detach(), t.running_var.detach()
    return norm, FixedDropPath(optional(t, 'drop_path_scale')).train()


def optional(t: SimpleNamespace, name: str) -> Optional[Tensor]:
    return getattr(t, name, None)


def times(x: Tensor, factor: Tensor) -> Tensor:
    return x * factor.to(x.dtype)[..., None, None]


def depthwise(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight.to(x.dtype), padding=1, groups=x.shape[1])


def convolve(y: Tensor, weights: Tensor) -> Tensor:
    """1-D convolutions of y (B, L, C) over C with the kernels (L, M, K) of each of L."""
    found = [F.conv1d(means[:, None], w[:, None].to(y.dtype), padding=w.shape[-1] // 2)
             for means, w in zip(y.unbind(1), weights)]
    return torch.stack(found, 1).to(torch.promote_types(y.dtype, weights.dtype))


# ---------------------------------------------------------------------------------- the operations


class AddReluMean:

    def draw(draw):
        shape = draw.map()
        return dict(branch=shape, shortcut=shape), dict(both=draw.flip())

    def fast(t, both):
        x, shortcut, y, z = ops.add_relu_mean(t.branch * 1, t.shortcut * 1, both)
        return dict(x=x, shortcut=shortcut * 1, y=y, **(dict(z=z) if both else {})), {}

    def definition(t, both):
        x = F.relu(t.branch + t.shortcut)
        found = dict(x=x, shortcut=t.shortcut * 1, y=x.mean((2, 3)))
        if both:
            found['z'] = t.shortcut.mean((2, 3))
        return found, {}


class Light:

    def draw(draw):
        shape = draw.map()
        batch, channels = shape[:2]
        norm, settings = draw.norm(shape)
        shapes = dict(x=shape, o=shape, value_weight=(channels, 1, 3, 3), score=(batch, channels),
                      lambda_l=(channels, ), **norm)
        if draw.flip():
            shapes['d'] = (batch, channels)
        if draw.flip():
            shapes['excite_weight'] = (channels, 1, 3, 3)
        return shapes, settings

    def fast(t, training, eps):
        x, o, (norm, drop_path) = t.x * 1, t.o * 1, modules(t, training, eps)
        if not ops.light_is_fast(x, o, norm):
            return Light.definition(t, training, eps)
        return dict(out=ops.light_attention(
            x, o, t.value_weight, t.score, t.lambda_l, optional(t, 'd'), optional(t, 'excite_weight'),
            norm, drop_path)), {}

    def definition(t, training, eps):
        norm, drop_path = modules(t, training, eps)
        d, excite_weight = optional(t, 'd'), optional(t, 'excite_weight')
        past = t.o if d is None else times(t.o, d)
        if excite_weight is not None:
            past = past + depthwise(t.o, excite_weight)
        u = times(past, t.lambda_l) + times(depthwise(t.x, t.value_weight), t.score)
        return dict(out=t.x + drop_path(norm(u))), {}


class Base:
    """One to five layers, each over the maps of all before."""

    def draw(draw):
        layers, (batch, channels, height, width) = draw.randint(1, 5), draw.map()
        shape = batch, channels, height, width
        norm, settings = draw.norm(shape)
        shapes = {}
        for index in range(layers):
            shapes.update({f'x{index}': shape, f'value_weight{index}': (channels, 1, 3, 3),
                           f'weights{index}': (batch, index + 1, channels)})
        return {**shapes, **norm}, dict(layers=layers, **settings)

    def fast(t, layers, training, eps):
        return Base.run(t, layers, training, eps, ops.base_is_fast)

    def definition(t, layers, training, eps):
        return Base.run(t, layers, training, eps, lambda *args: False)

    def run(t, layers, training, eps, is_fast):
        norm, drop_path = modules(t, training, eps)
        found, arguments, values = {}, {}, ()
        for index in range(layers):
            x, weight, weights = (getattr(t, f'{n}{index}') for n in ('x', 'value_weight', 'weights'))
            name = f'out {index}'
            if is_fast(x, values, norm):
                found[name], values = ops.base_attention(x * 1, weight, weights, values, norm, drop_path)
                continue
            values = (*values, depthwise(x, weight))
            u = norm(sum(times(v, w) for v, w in zip(values, weights.unbind(1))))
            found[name], arguments[name] = x + drop_path(F.relu(u)), u.detach()
        found.update({f'v {index}': v for index, v in enumerate(values)})
        return found, arguments


class ChannelConvolution:

    def draw(draw):
        layers = draw.randint(1, 5)
        return dict(y=(draw.randint(1, 4), layers, draw.size()),
                    weights=(layers, draw.randint(1, 3), draw.choice((1, 3, 5, 7)))), {}

    def fast(t):
        return dict(out=ops.channel_convolution(t.y * 1, t.weights)), {}

    def definition(t):
        return dict(out=convolve(t.y, t.weights)), {}


class SelfScore:

    def draw(draw):
        channels = draw.size()
        divisors = [n for n in range(1, channels + 1) if channels % n == 0]
        return (dict(y=(draw.randint(1, 4), channels), weights=(2, draw.choice((1, 3, 5, 7)))),
                dict(dim_per_head=draw.choice(divisors)))

    def fast(t, dim_per_head):
        return dict(out=ops.self_score(t.y * 1, t.weights, dim_per_head)), {}

    def definition(t, dim_per_head):
        query, key = convolve(t.y[:, None], t.weights[None])[:, 0].unbind(1)
        score = (query * key).unflatten(-1, (-1, dim_per_head)).sum(-1) / dim_per_head ** 0.5
        return dict(out=score.sigmoid().repeat_interleave(dim_per_head, -1)), {}


class DSUUpdate:

    def draw(draw):
        batch, channels, layers = draw.randint(1, 4), draw.size(), draw.choice((None, *range(1, 6)))
        if layers is None:
            return dict(pre=(batch, 3 * channels), c=(batch, channels)), {}
        return dict(pre=(batch, layers, 3 * channels), c=(batch, draw.choice((1, layers)), channels)), {}

    def fast(t):
        if not ops.dsu_update_is_fast(t.pre, t.c):
            return DSUUpdate.definition(t)
        return dict(out=ops.dsu_update(t.pre * 1, t.c * 1)), {}

    def definition(t):
        i, f, candidate = t.pre.chunk(3, -1)
        return dict(out=f.sigmoid() * t.c + i.sigmoid() * candidate.tanh()), {}


class DSU:

    def draw(draw):
        batch, channels, layers = draw.randint(1, 4), draw.size(), draw.choice((None, *range(1, 6)))
        hidden = draw.randint(1, 20)
        y = (batch, channels) if layers is None else (batch, layers, channels)
        c = y if layers is None else (batch, draw.choice((1, layers)), channels)
        return dict(y=y, c=c, squeeze=(hidden, 2 * channels), expand=(3 * channels, hidden),
                    bias=(3 * channels, )), {}

    def fast(t):
        squeeze, expand = linear(t.squeeze), linear(t.expand, t.bias)
        if not ops.dsu_is_fast(t.y, t.c, squeeze, expand):
            return DSU.definition(t)
        return dict(out=ops.dsu(t.y * 1, t.c * 1, squeeze, expand)), {}

    def definition(t):
        dtype = torch.promote_types(t.y.dtype, t.squeeze.dtype)
        y, c, squeeze, expand, bias = (v.to(dtype) for v in (t.y, t.c, t.squeeze, t.expand, t.bias))
        s = F.linear(torch.cat([c.sigmoid().expand_as(y), y], -1), squeeze)
        i, f, candidate = F.linear(s.relu(), expand, bias).chunk(3, -1)
        return dict(out=f.sigmoid() * c + i.sigmoid() * candidate.tanh()), dict(
            out=s.detach().abs().amin(-1, keepdim=True).expand_as(y))


def linear(weight: Tensor, bias: Optional[Tensor] = None) -> nn.Linear:
    """The layer whose parameters the tensors are."""
    layer = nn.Linear(*weight.T.shape, bias=bias is not None)
    layer.weight, layer.bias = weight, bias
    return layer


OPERATIONS = (AddReluMean, Light, Light, Base, Base, ChannelConvolution, SelfScore, DSUUpdate, DSU)
