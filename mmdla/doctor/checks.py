"""Values and gradients of an implementation of the operations against float64.

The truth is the plain definition in float64 on the same, rounded, inputs. A result may be off by twice
what the plain definition is off in the same dtype, and beside by a unit in the last place, in the dtype
of the maps, of the largest value. For a sum over n places, such as the gradient of a factor, sqrt(n)
units of the dtype it is summed in are added: so the roundings of its terms do. Where float64 itself is
checked, which the truth cannot measure, EXACT of the largest value is allowed.
"""
import math
from contextlib import contextmanager
from itertools import product
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional

import torch
from torch import Tensor, nn

from mmdla import ops
from mmdla.errors import reason

from .operations import PARAMETERS, Operation, Shape, SomeDropped, Tensors, operations

FORMATS = dict(NCHW=torch.contiguous_format, NHWC=torch.channels_last)
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
SHAPES = ((2, 16, 9, 7), (3, 5, 1, 37), (1, 6, 19, 23), (3, 24, 14, 20), (2, 8, 41, 35))
GPU_SHAPES = ((2, 64, 56, 56), (3, 5, 1, 37), (1, 256, 100, 167))  # few: each is compiled for
EXACT = 1e-10
FEW, DRAWS = 10000, 4  # maps of fewer elements are drawn so often, and the errors taken together


class Case(NamedTuple):
    """Maps on which an operation is checked."""

    dtype: torch.dtype
    layout: str
    shape: Shape
    place: str = ''

    @property
    def format(self) -> torch.memory_format:
        return FORMATS[self.layout]

    def __str__(self) -> str:
        size = ' x '.join(map(str, self.shape))
        return f'{str(self.dtype).removeprefix("torch.")}, {self.layout}, {size}{self.place}'


class Check(NamedTuple):
    """What came of a check.

    Attributes:
        operation (str): Its name and form.
        case (str): Dtype, layout, size.
        share (float, optional): Error over the error allowed, of the worst result; None if not checked.
        failure (str, optional): One sentence.
        unchecked (str, optional): Why it was not checked.
    """

    operation: str
    case: str
    share: Optional[float] = None
    failure: Optional[str] = None
    unchecked: Optional[str] = None


def failed(operation: str, case: str, text: str) -> Check:
    return Check(operation, case, float('inf'), f'{operation} ({case}): {text}.')


@contextmanager
def exact() -> Iterator[None]:
    """A context in which float32 on a GPU is not rounded to TF32."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def accumulator(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def draw(operation: Operation, case: Case, device: torch.device, seed: int) -> Tensors:
    """Tensors as a network has them: maps and means in the case's dtype, parameters in float32."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, size in operation.sizes(case.shape).items():
        parameter = name.rstrip('0123456789') in PARAMETERS
        value = torch.randn(size, generator=generator)
        if not parameter:
            value = value.to(case.dtype)
        value = value.to(device, accumulator(case.dtype) if parameter else case.dtype)
        is_map = tuple(size) == tuple(case.shape)
        found[name] = value.contiguous(memory_format=case.format) if is_map else value
    return found


def has_maps(operation: Operation) -> bool:
    return SHAPES[0] in operation.sizes(SHAPES[0]).values()


def not_taken(operation: Operation, case: Case) -> str:
    """Why an operation is not checked that does not take the tensors of a case."""
    what = f'{case.layout} maps' if has_maps(operation) else 'operations on channel means'
    return f'{what}: the plain definition runs'


def norm_of(operation: Operation, case: Case, device: torch.device, seed: int) -> Optional[nn.Module]:
    if operation.mode is None:
        return None
    generator = torch.Generator().manual_seed(seed)
    norm = nn.BatchNorm2d(case.shape[1])
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
        norm.running_var.copy_(torch.rand(norm.running_var.shape, generator=generator) * 2 + 0.5)
    return norm.to(device, accumulator(case.dtype)).train(operation.mode == 'training')


def clone(norm: Optional[nn.Module], dtype: Optional[torch.dtype] = None) -> Optional[nn.Module]:
    if norm is None:
        return None
    copy = nn.BatchNorm2d(norm.num_features).to(norm.weight).train(norm.training)
    copy.load_state_dict(norm.state_dict())
    return copy if dtype is None else copy.to(dtype)


def asked_gradients(operation: Operation, tensors: Tensors, norm: Optional[nn.Module],
                    case: Case) -> Callable[[str, Tensor], Tensor]:
    """The gradients that a loss has with respect to results, the same for all that are compared."""
    switched = {}
    if operation.switched:
        wide = {name: t.double() for name, t in tensors.items()}
        with torch.no_grad():
            switched = operation.switched(wide, clone(norm, torch.float64), None)

    known: Tensors = {}

    def of(name: str, result: Tensor) -> Tensor:
        if name not in known:
            generator = torch.Generator().manual_seed(len(known))
            grad = torch.randn(result.shape, generator=generator).to(case.dtype).to(result.device)
            if name in switched:
                near = 8 * torch.finfo(case.dtype).eps * switched[name].abs().max()
                grad = grad * (switched[name].abs() > near)
            known[name] = grad
        return known[name].to(result.dtype)

    return of


def results(compute: Callable, tensors: Tensors, norm: Optional[nn.Module],
            asked: Callable[[str, Tensor], Tensor]) -> Optional[Tensors]:
    """Outputs of an operation, gradients of all inputs, and what it leaves in the norm.

    The outputs are computed a second time without autograd, where an operation may run in place.
    None where the operation does not take the tensors.
    """
    drop_path = SomeDropped().train(norm is not None and norm.training)
    with torch.no_grad():
        plain = compute({name: t.clone() for name, t in tensors.items()}, clone(norm), drop_path)
    if plain is None:
        return None
    leaves = {name: t.clone().requires_grad_() for name, t in tensors.items()}
    own = clone(norm)
    outputs = compute(leaves, own, drop_path)
    wanted = {**leaves, **({} if own is None else
                           {f'norm.{name}': p for name, p in own.named_parameters()})}
    grads = torch.autograd.grad(
        list(outputs.values()), list(wanted.values()),
        [asked(name, value) for name, value in outputs.items()], allow_unused=True)
    found = {f'{name} without autograd': value for name, value in plain.items()}
    found.update({name: value.detach() for name, value in outputs.items()})
    found.update({f'the gradient of {name}': torch.zeros_like(leaf) if grad is None else grad
                  for (name, leaf), grad in zip(wanted.items(), grads)})
    if own is not None:
        found.update({f'norm.{name}': buffer for name, buffer in own.named_buffers()
                      if buffer.is_floating_point()})
    return found


def error_of(found: Tensor, truth: Tensor) -> float:
    """The largest difference; infinite where there is a NaN, or another shape."""
    if found.shape != truth.shape:
        return float('inf')
    error = (found.double() - truth).abs().max().item()
    return error if error == error else float('inf')


def check(operation: Operation, case: Case, device: torch.device, how: str) -> Check:
    """Compare an operation by implementation ``how`` of mmdla.ops with float64, and with itself."""
    try:
        with exact():
            return compared(operation, case, device, how)
    except Exception as error:
        return failed(operation.name, str(case), f'it raised {reason(error)}')


def compared(operation: Operation, case: Case, device: torch.device, how: str) -> Check:
    """:func:`check`, without its care for exceptions."""
    count = DRAWS if torch.Size(case.shape).numel() < FEW else 1
    errors: Dict[str, List[float]] = {}
    for seed in range(count):
        tensors, norm = draw(operation, case, device, seed), norm_of(operation, case, device, seed)
        asked = asked_gradients(operation, tensors, norm, case)
        with ops.use(how):
            found = results(operation.fused, tensors, norm, asked)
            if found is None:
                return Check(operation.name, str(case), unchecked=not_taken(operation, case))
            again = results(operation.fused, tensors, norm, asked)
        for name in found:
            if not torch.equal(found[name].nan_to_num(), again[name].nan_to_num()):
                return failed(operation.name, str(case), f'a repeated call gives another {name}')
        with ops.use('reference'):
            reference = results(operation.definition, tensors, norm, asked)
            wide = {name: t.double() for name, t in tensors.items()}
            truth = results(operation.definition, wide, clone(norm, torch.float64), asked)
        for name, true in truth.items():
            if found[name].dtype != reference[name].dtype:
                return failed(operation.name, str(case),
                              f'{name} is {found[name].dtype} in place of {reference[name].dtype}')
            numbers = (error_of(found[name], true), error_of(reference[name], true),
                       unit(found[name], case) * true.abs().max().item())
            errors[name] = [max(pair) for pair in zip(errors.get(name, (0, 0, 0)), numbers)]
    return verdict(operation.name, str(case), errors)


def unit(result: Tensor, case: Case) -> float:
    """What rounding alone may do to a result, of its largest value."""
    if case.dtype == torch.float64:
        return EXACT
    summed = max(torch.Size(case.shape).numel() / result.numel(), 1)
    own, inner = (torch.finfo(dtype).eps for dtype in (case.dtype, accumulator(case.dtype)))
    return own + (math.sqrt(summed) * inner if summed > 1 else 0)


def verdict(operation: str, case: str, errors: Dict[str, List[float]]) -> Check:
    """From each result's error, the reference's and the size of a unit."""
    shares = {}
    for name, (error, own, rounding) in errors.items():
        allowed = 2 * own + rounding
        shares[name] = error / allowed if allowed else float('inf') if error else 0.0
    worst = max(shares, key=shares.get)
    if shares[worst] <= 1:
        return Check(operation, case, shares[worst])
    error, own, rounding = errors[worst]
    text = (f'{worst} is off by {error:.2e}, allowed are {2 * own + rounding:.2e} (the plain definition '
            f'is off by {own:.2e})')
    return failed(operation, case, text)._replace(share=shares[worst])


def usual_cases(device: torch.device) -> List[Case]:
    """All dtypes, layouts, sizes; on a GPU, where each is compiled for, float16 and float64 at one."""
    if device.type == 'cpu':
        return [Case(*one) for one in product(DTYPES, FORMATS, SHAPES)]
    return [Case(*one) for one in product(DTYPES, FORMATS, GPU_SHAPES)
            if one[0] in DTYPES[:2] or one[2] == GPU_SHAPES[0]]


def check_all(how: str, device: torch.device, cases: Iterable[Case]) -> Iterator[Check]:
    """Every operation in these cases, those without maps in one layout.

    Norms in training see more than one sample: of one, they take away the gradients of its factors.
    """
    for operation, case in product(operations(), cases):
        enough = operation.mode != 'training' or case.shape[0] > 1
        if enough and (has_maps(operation) or case.layout == 'NCHW'):
            yield check(operation, case, device, how)
