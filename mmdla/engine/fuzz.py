"""Random configurations of the operations of mmdla.ops."""
import random
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Dict, Optional, Tuple

import torch
from torch import Tensor, nn

from mmdla import ops
from mmdla.ops.backend import implementation

from .fuzz_operations import OPERATIONS, Base

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
            by_kernels = not maps or implementation(*maps) == 'kernels'
            return by_kernels and (self.operation is not Base or maps[0].is_contiguous())

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
