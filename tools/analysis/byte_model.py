"""How much slower than the plain ResNet layer attention should be on GPUs, computed from bytes.

    python tools/analysis/byte_model.py            # writes the tables of docs/performance.md, 2 minutes
    python tools/analysis/byte_model.py --check    # writes nothing, fails if they are stale

No GPU is needed or used. A training step (forward and backward of the backbone, bfloat16, channels last)
is traced on tensors without memory (``mmdla/engine/traffic.py``). An operation takes as long as its
bytes or its arithmetic, whichever takes longer, and a constant for its launch.
"""
import argparse
import logging
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Dict, List
from unittest.mock import patch

from mmdla import ops
from mmdla.engine import cli
from mmdla.engine.traffic import Operation, fused, trace, tracing
from mmdla.errors import UserError
from mmdla.files import with_part, write_text
from mmdla.models import DLAResNet, MRLAResNet, ResNet

import torch

PAGE = Path(__file__).parents[2] / 'docs' / 'performance.md'
TOOL = 'tools/analysis/byte_model.py'
# bytes/s and, for bfloat16, operations/s
GPUS = {'H200': (4.8e12, 990e12), 'A100': (2.0e12, 312e12), 'RTX 4090': (1.0e12, 165e12)}
BANDWIDTH = 0.85  # part of it that is reached
COMPUTE = (0.25, 0.5)  # of the peak, in convolutions: a range
LAUNCH = 3e-6  # s
SYSTEMS = {
    'ResNet-50': (ResNet, {}),
    'MRLA-L-50': (MRLAResNet, dict(variant='light')),
    'DLA-L-50': (DLAResNet, dict(variant='light')),
    'MRLA-B-50': (MRLAResNet, dict(variant='base')),
    'DLA-B-50': (DLAResNet, dict(variant='base')),
}
TASKS = {
    'Classification, 224 x 224, batch 128': ((128, 3, 224, 224), {}),
    'Detection, 800 x 1344, batch 2, frozen BN': (
        (2, 3, 800, 1344), dict(out_indices=(0, 1, 2, 3), norm_eval=True)),
}


def steps(name: str, shape: tuple, cfg: dict) -> Dict[str, List[Operation]]:
    """The operations of a training step by implementation."""
    cls, kwargs = SYSTEMS[name]
    logging.disable(logging.INFO)
    network = cls(50, **kwargs, **cfg).train().to('meta', torch.bfloat16)
    network = network.to(memory_format=torch.channels_last)
    images = torch.empty(shape, dtype=torch.bfloat16, device='meta',
                         memory_format=torch.channels_last)
    with ops.use('reference'):
        found = dict(reference=trace(network, images))
    if name.endswith('-L-50'):  # the base forms have nothing to fold
        with patch('mmdla.ops.light.implementation', lambda *maps: 'folded'):
            found['folded'] = trace(network, images)
    if name != 'ResNet-50':
        with ExitStack() as stack:
            stack.enter_context(ops.use('triton'))
            for module in ('tiling', 'fold'):
                stack.enter_context(patch(f'mmdla.ops.triton_kernels.{module}.launch', note_launch))
            found['Triton'] = trace(network, images)
    return {**found, 'torch.compile': fused(found['reference'])}


def note_launch(kernel, programs, *args, MORE=False, **flags) -> None:
    """In place of a Triton kernel: each tensor is read or written once; ``out`` with MORE both."""
    tensors = [arg for arg in args if isinstance(arg, torch.Tensor)]
    tracing().add(kernel.fn.__name__, 'library', tensors, tensors[:1] if MORE else [])


def seconds(operations: List[Operation], gpu: str, compute: float) -> float:
    bandwidth, peak = GPUS[gpu]
    return sum(LAUNCH + max(operation.bytes / bandwidth / BANDWIDTH, operation.flops / peak / compute)
               for operation in operations)


def span(low: float, high: float, unit: str) -> str:
    digits = 0 if unit else 2
    low, high = (f'{value:.{digits}f}' for value in sorted((low, high)))
    return (low if low == high else f'{low} to {high}') + unit


def table(shape: tuple, cfg: dict) -> List[str]:
    lines = [f'| network | implementation | operations | GB | {" | ".join(GPUS)} |',
             '| --- ' * (len(GPUS) + 4) + '|']
    plain = None
    for name in SYSTEMS:
        found = steps(name, shape, cfg)
        plain = plain or found
        for how, operations in found.items():
            base = plain['torch.compile' if how == 'torch.compile' else 'reference']
            cells = []
            for gpu in GPUS:
                times = [seconds(operations, gpu, compute) for compute in COMPUTE]
                if found is plain:
                    cells.append(span(*(1e3 * time for time in times), ' ms'))
                else:
                    cells.append(span(*(time / seconds(base, gpu, compute)
                                        for time, compute in zip(times, COMPUTE)), ''))
            size = sum(operation.bytes for operation in operations) / 1e9
            label = 'eager' if found is plain and how == 'reference' else how
            lines.append(f'| {name} | {label} | {len(operations)} | {size:.1f} | {" | ".join(cells)} |')
    return lines


def tables() -> str:
    blocks = ['\n'.join([f'**{task}:**', '', *table(*settings)]) for task, settings in TASKS.items()]
    return '\n\n'.join(blocks)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', action='store_true', help='write nothing; fail if the page is stale')
    args = parser.parse_args()
    if find_spec('triton') is None:
        raise UserError('triton is not installed, whose kernels are counted, too: pip install triton.')
    new = with_part(PAGE, TOOL, f'\n{tables()}\n')
    if args.check and new != PAGE.read_text():
        raise UserError(f'the tables of {PAGE} are stale: run python tools/analysis/byte_model.py.')
    if not args.check:
        write_text(str(PAGE), new)


if __name__ == '__main__':
    cli.run(main)
