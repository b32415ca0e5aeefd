"""Random configurations of the operations of mmdla.ops, and their plain definitions.

An operation is a class of three functions (no methods), listed in ``OPERATIONS``: ``draw`` gives the
shapes of its tensors and its settings, ``fast`` calls mmdla.ops, ``definition`` writes the equation
out. Both return their outputs by name, and what a ReLU is taken of, by the name of the output that it
makes.
"""
import random
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Dict, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdla import ops
from mmdla.ops.backend import implementation

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
NO_LEAVES = ('running_mean', 'running_var', 'drop_path_scale')


class Draw(random.Random):
    """Random numbers of one configuration."""

    def flip(self) -> bool:
        return self.random() < 0.5

    def size(self) -> int:
        """1 to 40: small ones, those around the length of a vector, and any other."""
        return self.choice((1, self.randint(1, 4), self.choice((7, 8, 9, 15, 16, 17, 31, 32, 33)),
                            self.randint(1, 40)))

    def map(self) -> Tuple[int, ...]:
        return self.randint(1, 4), self.size(), self.size(), self.size()

    def norm(self, shape: tuple) -> Tuple[dict, dict]:
        """Shapes and settings of a BatchNorm.

        In training with a large eps: gradients would else be differences of nearly equal numbers where
        a factor of u cancels in the norm.
        """
        batch, channels, height, width = shape
        training = batch * height * width > 1 and self.flip()
        names = ('gamma', 'beta', 'running_mean', 'running_var')
        shapes = {name: (channels, ) for name in names}
        if self.flip():
            shapes['drop_path_scale'] = (batch, )
        return shapes, dict(training=training, eps=0.5 if training else 1e-5)


@dataclass
class Case:
    """One configuration: everything but the implementation that runs it."""

    name: str
    operation: type
    dtype: torch.dtype
    settings: dict
    tensors: Dict[str, Tensor]  # float64, of values that the dtype has
    dtypes: Dict[str, torch.dtype]
    leaves: tuple  # names of those with a gradient
    fresh: bool  # whether nobody else holds the gradients that come in
    channels_last: bool

    def run(self, how: str, exact: bool = False, grads: Optional[Dict[str, Tensor]] = None) -> tuple:
        """Run forward and, with gradients, backward.

        Args:
            how (str): 'fast' or 'definition'.
            exact (bool): Whether all tensors are float64.
            grads (dict, optional): Gradient of each output that has one.

        Returns:
            tuple: Outputs; gradients and statistics; arguments of ReLUs: float64, each by its name.
        """
        tensors = {name: self.parameter(name, value, exact) for name, value in self.tensors.items()}
        with torch.set_grad_enabled(bool(self.leaves)):
            function = getattr(self.operation, how)
            outputs, arguments = function(SimpleNamespace(**tensors), **self.settings)
            roots = {name: outputs[name] for name in grads or {} if outputs[name].requires_grad}
            if roots:
                given = [grads[name].to(out.dtype) for name, out in roots.items()]
                torch.autograd.backward([r * 1 if self.fresh else r for r in roots.values()], given)
        others = {}
        for name, tensor in tensors.items():
            if name in self.leaves:  # no gradient means 0
                grad = tensor.grad
                others[gradient_of(name)] = torch.zeros_like(tensor) if grad is None else grad
            elif name in NO_LEAVES:
                others[name] = tensor.detach()
        outputs, others = ({name: t.detach().double() for name, t in found.items()}
                           for found in (outputs, others))
        return outputs, others, arguments

    def gradients(self) -> tuple:
        """Names of the gradients that ``run`` returns."""
        return tuple(map(gradient_of, self.leaves))

    def size(self) -> int:
        """Elements of the largest tensor."""
        return max(value.numel() for value in self.tensors.values())

    def by_kernels(self) -> bool:
        """Whether ``fast`` runs the kernels, not a fallback."""
        maps = [self.parameter(name, value, False) for name, value in self.tensors.items()
                if is_main(name) and value.dim() == 4]
        with ops.use('kernels'):
            return not maps or implementation(*maps) == 'kernels'

    def parameter(self, name: str, value: Tensor, exact: bool) -> nn.Parameter:
        """A new tensor; a Parameter, so that a norm takes it."""
        value = value.to(torch.float64 if exact else self.dtypes[name], copy=True)
        if value.dim() == 4 and self.channels_last:
            value = value.to(memory_format=torch.channels_last)
        return nn.Parameter(value, requires_grad=name in self.leaves)


def case_of(seed: int, number: int) -> Case:
    """The configuration of a seed and a number, always the same."""
    draw = Draw(f'{seed} {number}')
    operation, dtype = draw.choice(OPERATIONS), draw.choice(DTYPES)
    shapes, settings = operation.draw(draw)
    generator = torch.Generator().manual_seed(draw.getrandbits(32))
    sums = torch.float64 if dtype == torch.float64 else torch.float32
    factors = draw.choice((dtype, sums))  # those of autocast are float32
    dtypes = {name: dtype if is_main(name) else factors for name in shapes}
    tensors = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=generator, dtype=torch.float64)
        if name == 'running_var':
            value = value.abs() + 0.5
        if name == 'drop_path_scale':
            value = (value > 0) * 2.0
            dtypes[name] = sums
        tensors[name] = value.to(dtypes[name]).double()
    can = [name for name in shapes if name not in NO_LEAVES]
    leaves = draw.choice((can, can, [name for name in can if draw.flip()], []))
    channels_last = draw.random() < 0.25
    words = [operation.__name__, str(dtype).split('.')[1], str(shapes[next(iter(shapes))]),
             *(f'{key}={value}' for key, value in settings.items()),
             *(name for name in ('d', 'excite_weight', 'drop_path_scale') if name in shapes),
             f'factors {factors}'.replace('torch.', '') if factors != dtype else '',
             'channels_last' if channels_last else '',
             'gradients of ' + ('all' if leaves is can else ', '.join(leaves) or 'none')]
    words = ' '.join(filter(None, words))
    return Case(f'{number}: {words}', operation, dtype, settings, tensors, dtypes, tuple(leaves),
                draw.flip(), channels_last)


def gradient_of(name: str) -> str:
    return f'the gradient of {name}'


def is_main(name: str) -> bool:
    """Whether a tensor is a map, or the means of one: these have the dtype of the case."""
    return name.rstrip('0123456789') in ('branch', 'shortcut', 'x', 'o', 'y', 'pre')


# ------------------------------------------------------------------------------- what both sides need


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
        if not ops.light_is_fast(x, o):
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
        if not ops.dsu_is_fast(t.pre, t.c):
            return DSUUpdate.definition(t)
        return dict(out=ops.dsu_update(t.pre * 1, t.c * 1)), {}

    def definition(t):
        i, f, candidate = t.pre.chunk(3, -1)
        return dict(out=f.sigmoid() * t.c + i.sigmoid() * candidate.tanh()), {}


OPERATIONS = (AddReluMean, Light, Light, Base, Base, ChannelConvolution, SelfScore, DSUUpdate)
