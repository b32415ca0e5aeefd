"""Times of DLA-L-50 by each implementation, beside the plain ResNet-50.

Implementations take turns, a step each per round, so that what slows the machine down meets all of
them; ratios are taken within a round, and their median is given. Steps are of the backbone alone,
without optimizer.
"""
import statistics
import time
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from mmdla import ops
from mmdla.errors import reason

from .checks import FORMATS

ROUNDS = 5


class Workload(NamedTuple):
    """What a step works on. Detection gives the maps of all stages, its BN frozen."""

    name: str
    batch: int
    size: Tuple[int, int]
    train: bool = True
    amp: bool = False
    layout: str = 'NCHW'
    compiled: bool = False

    def __str__(self) -> str:
        kind = f'{"bfloat16" if self.amp else "float32"} {self.layout}'
        step = 'training' if self.train else 'inference'
        return f'{self.name} {step}, {self.batch} x 3 x {self.size[0]} x {self.size[1]}, {kind}'


WORKLOADS = dict(
    cpu=(Workload('classification', 1, (224, 224)), Workload('classification', 1, (224, 224), False)),
    cuda=(Workload('classification', 64, (224, 224), amp=True, layout='NHWC', compiled=True),
          Workload('classification', 32, (224, 224)),
          Workload('detection', 2, (800, 1344)),
          Workload('detection', 2, (800, 1344), amp=True, layout='NHWC'),
          Workload('detection', 2, (800, 1344), False)))


class Time(NamedTuple):
    """Time of a step.

    Attributes:
        workload (str): What it works on.
        how (str): 'plain' for ResNet-50, the name of an implementation, or 'compile', torch.compile of
            the reference.
        ms (float, optional): Median of the rounds; None where it could not be run.
        ratio (float, optional): To the plain network, median within the rounds.
        first_s (float, optional): Of the first step, which compiles.
        compilations (int, optional): Graphs of torch.compile, or variants of Triton's kernels.
        problem (str, optional): Why it could not be run.
        wrong (bool): Whether the reason is another than too little memory.
    """

    workload: str
    how: str
    ms: Optional[float] = None
    ratio: Optional[float] = None
    first_s: Optional[float] = None
    compilations: Optional[int] = None
    problem: Optional[str] = None
    wrong: bool = False


def network(plain: bool, workload: Workload, device: torch.device) -> nn.Module:
    from mmdla.models import DLAResNet, ResNet
    arguments = dict(out_indices=(0, 1, 2, 3), norm_eval=True) if workload.name == 'detection' else {}
    model = ResNet(50, **arguments) if plain else DLAResNet(50, 'light', **arguments)
    return model.to(device).to(memory_format=FORMATS[workload.layout]).train(workload.train)


def step_of(model: nn.Module, images: Tensor, workload: Workload, how: str) -> Callable[[], None]:

    def step() -> None:
        with ops.use(how), torch.autocast(images.device.type, torch.bfloat16, workload.amp), \
                torch.set_grad_enabled(workload.train):
            loss = sum(out.float().mean() for out in model(images))
            if workload.train:
                loss.backward()
        model.zero_grad(set_to_none=True)

    return step


def seconds(step: Callable[[], None], device: torch.device) -> float:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    begin = time.perf_counter()
    step()
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin


def compilations(how: str) -> Optional[int]:
    """So far in this process; None where nothing is compiled, or Triton does not tell."""
    if how == 'compile':
        return torch._dynamo.utils.counters['stats']['unique_graphs']
    if how != 'triton':
        return None
    from mmdla.ops import triton_kernels
    try:
        kernels = [value for file in (triton_kernels.add_relu_mean, triton_kernels.depthwise_pair,
                                      triton_kernels.weighted_sum)
                   for value in file.__globals__.values() if hasattr(value, 'device_caches')]
        return sum(len(cache[0]) for kernel in set(kernels) for cache in kernel.device_caches.values())
    except (AttributeError, TypeError):
        return None


def measure(workload: Workload, names: Sequence[str], device: torch.device,
            rounds: int = ROUNDS) -> List[Time]:
    """Times of the plain ResNet-50 and of DLA-L-50 by these implementations."""
    images = torch.randn(workload.batch, 3, *workload.size, device=device)
    images = images.contiguous(memory_format=FORMATS[workload.layout])
    plain, model = (network(which, workload, device) for which in (True, False))
    steps: Dict[str, Callable[[], None]] = {}
    begun: Dict[str, dict] = {}
    found = []
    for how in ('plain', *names):
        own = plain if how == 'plain' else torch.compile(model) if how == 'compile' else model
        step = step_of(own, images, workload, 'reference' if how in ('plain', 'compile') else how)
        before = compilations(how)
        try:
            first = seconds(step, device)
            seconds(step, device)
        except Exception as error:
            found.append(not_run(workload, how, error))
            continue
        count = None if before is None else compilations(how) - before
        steps[how], begun[how] = step, dict(first_s=first, compilations=count)
    times: Dict[str, List[float]] = {how: [] for how in steps}
    for _ in range(rounds):
        for how, step in steps.items():
            times[how].append(seconds(step, device))
    for how, taken in times.items():
        ratios = [a / b for a, b in zip(taken, times.get('plain', []))]
        found.append(Time(str(workload), how, statistics.median(taken) * 1e3,
                          statistics.median(ratios) if ratios else None, **begun[how]))
    return found


def not_run(workload: Workload, how: str, error: Exception) -> Time:
    text = 'too little memory' if isinstance(error, torch.OutOfMemoryError) else reason(error)
    return Time(str(workload), how, problem=text, wrong=not isinstance(error, torch.OutOfMemoryError))


def measure_all(names: Sequence[str], device: torch.device) -> Iterator[Time]:
    """At each size of a network for this device; torch.compile, which takes long, at one of them."""
    for workload in WORKLOADS[device.type]:
        try:
            yield from measure(workload, [*names, *(['compile'] if workload.compiled else [])], device)
        except Exception as error:
            yield not_run(workload, 'plain', error)
        if device.type == 'cuda':
            torch.cuda.empty_cache()


def winner(times: Sequence[Time]) -> Optional[str]:
    """Of 'reference' and 'triton' the one whose training steps take less, by the geometric mean of their
    ratios; None where neither was timed."""
    ms = {(time.workload, time.how): time.ms for time in times if 'training' in time.workload}
    if any(time.how == 'triton' and time.wrong for time in times):
        return 'reference'
    shares = [triton / ms[workload, 'reference'] for (workload, how), triton in ms.items()
              if how == 'triton' and triton and ms.get((workload, 'reference'))]
    if not shares:
        return None
    return 'triton' if statistics.geometric_mean(shares) < 1 else 'reference'
