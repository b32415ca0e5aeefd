"""Bytes and arithmetic of every operation of a training step, traced without computing anything.

On the meta device the operations are those of a GPU, but on tensors without memory. A trace counts the
bytes of the tensors that each one reads and writes: as if no cache held anything between two
operations, and nothing were read twice in one. Two kinds are two operations here: a BatchNorm, which
needs sums over a map before it can use them, and the backward pass of a convolution.
"""
from dataclasses import dataclass, field
from math import prod
from typing import Dict, List

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

# libraries compute these; nothing is fused with them
LIBRARY = ('convolution', 'convolution_backward', 'mm', 'addmm', 'bmm', 'max_pool2d_with_indices',
           'max_pool2d_with_indices_backward')
REDUCTIONS = ('mean', 'sum')
UNREAD = ('zeros_like', 'ones_like', 'new_zeros', 'zeros', 'ones')  # their arguments
UNTOUCHED = ('empty', 'empty_like', 'empty_strided', 'new_empty', 'new_empty_strided')


@dataclass
class Operation:
    """What one operation reads and writes: bytes by the value's number."""

    name: str
    kind: str  # 'library', 'reduction' or 'map'
    reads: Dict[int, int] = field(default_factory=dict)
    writes: Dict[int, int] = field(default_factory=dict)
    flops: int = 0

    @property
    def bytes(self) -> int:
        return sum(self.reads.values()) + sum(self.writes.values())


def size_of(tensor: Tensor) -> int:
    """Bytes of a tensor in memory: an expanded dimension is there once."""
    sizes = [size for size, stride in zip(tensor.shape, tensor.stride()) if stride or not size]
    return prod(sizes) * tensor.element_size()


def tensors_in(*trees) -> List[Tensor]:
    return [leaf for leaf in tree_leaves(trees) if isinstance(leaf, Tensor)]


class Trace(TorchDispatchMode):
    """A context that notes the operations on meta tensors in ``operations``.

    A value is what a storage holds between two writes to it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: List[Operation] = []
        self.values, self.kept, self.count = {}, [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name, mutable = func._schema.name.split('::')[1], func._schema.is_mutable
        outputs, inputs = tensors_in(out), tensors_in(args, kwargs)
        storages = {key_of(tensor) for tensor in inputs}
        is_view = not mutable and outputs and all(key_of(tensor) in storages for tensor in outputs)
        if not is_view and name not in UNTOUCHED:
            self.note(name, inputs, outputs, args, out, func)
        return out

    def note(self, name, inputs, outputs, args, out, func) -> None:
        """Add the operations that a call of PyTorch's is."""
        if name.startswith('native_batch_norm'):
            self.note_norm(name, inputs, outputs, args)
            return
        if name == 'convolution_backward':
            grad, x, weight = inputs
            flops = self.flops(func, args, out) // max(sum(args[-1][:2]), 1)
            for needed, other, made in zip(args[-1], (weight, x), out):
                if needed:
                    self.add(name, 'library', [grad, other], [made], flops)
            return
        kind = 'library' if name in LIBRARY else 'reduction' if name in REDUCTIONS else 'map'
        read = [] if name in UNREAD else inputs[1:] if name == 'copy_' else inputs
        self.add(name, kind, read, outputs, self.flops(func, args, out))

    def note_norm(self, name: str, inputs: List[Tensor], outputs: List[Tensor], args: tuple) -> None:
        """Sums over the maps, and then a pass that uses them, or running statistics."""
        backward = name.endswith('backward')
        by_batch = args[7 if backward else 5]
        maps = inputs[:2] if backward else inputs[:1]
        if by_batch or backward:
            self.add(f'{name}: sums', 'reduction', maps, outputs[1:])
        # on running statistics the gradient needs no map but the incoming one
        again = maps if by_batch or not backward else maps[:1]
        self.add(name, 'map', [*again, *(outputs[1:] if by_batch else inputs[len(maps):])], outputs[:1])

    def flops(self, func, args, out) -> int:
        """Multiplications and additions of matrix products and of convolutions, without those of one
        channel a group, which memory limits."""
        formula = flop_registry.get(func._overloadpacket)
        return formula(*args, out_val=out) if formula and groups_of(func, args) == 1 else 0

    def add(self, name: str, kind: str, reads: List[Tensor], writes: List[Tensor],
            flops: int = 0) -> None:
        reads = {self.value(tensor): size_of(tensor) for tensor in reads}
        made = {}
        for tensor in writes:
            self.count += 1
            self.values[key_of(tensor)] = self.count
            self.kept.append(tensor)
            made[self.count] = size_of(tensor)
        self.operations.append(Operation(name, kind, reads, made, flops))

    def value(self, tensor: Tensor) -> int:
        key = key_of(tensor)
        if key not in self.values:
            self.count += 1
            self.values[key] = self.count
            self.kept.append(tensor)
        return self.values[key]


def tracing() -> Trace:
    """The trace inside whose context the caller is."""
    return next(mode for mode in _get_current_dispatch_mode_stack() if isinstance(mode, Trace))


def groups_of(func, args: tuple) -> int:
    names = [argument.name for argument in func._schema.arguments]
    return args[names.index('groups')] if 'groups' in names else 1


def key_of(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def fused(operations: List[Operation]) -> List[Operation]:
    """The same operations with those joined that torch.compile is assumed to compute in one pass.

    Operations on each element join with those that read their results, and so does a reduction of them;
    what needs the result of a reduction, a convolution or a matrix product starts a new pass. Passes
    that could run at the same time and read the same value are one. A value that another pass reads is
    written; nothing is computed twice.
    """
    makers, readers = edges(operations)
    levels = levels_of(operations, makers, readers)
    group = list(range(len(operations)))

    def root(n: int) -> int:
        while group[n] != n:
            n = group[n]
        return n

    first_reader = {}
    for n, operation in enumerate(operations):
        if operation.kind == 'library':
            continue
        together = [m for m in makers[n] if levels[m] == levels[n] and operations[m].kind == 'map']
        together += [first_reader.setdefault((levels[n], value), n) for value in operation.reads]
        for other in together:
            group[root(n)] = root(other)
    passes: Dict[int, List[int]] = {}
    for n in range(len(operations)):
        passes.setdefault(root(n), []).append(n)
    return [joined([operations[n] for n in members], set(members), readers)
            for members in passes.values()]


def edges(operations: List[Operation]) -> tuple:
    """Of each operation the numbers of those whose results it reads; of each value its readers."""
    made_by, makers, readers = {}, [], {}
    for n, operation in enumerate(operations):
        makers.append([made_by[value] for value in operation.reads if value in made_by])
        for value in operation.reads:
            readers.setdefault(value, set()).add(n)
        made_by.update(dict.fromkeys(operation.writes, n))
    return makers, readers


def levels_of(operations: List[Operation], makers: List[list], readers: Dict[int, set]) -> List[int]:
    """In which round each operation runs, if what can run runs; but operations on each element as late
    as their first reader."""
    levels = []
    for n, operation in enumerate(operations):
        alone = operation.kind == 'library'
        levels.append(max((levels[m] + (alone or operations[m].kind != 'map') for m in makers[n]),
                          default=0))
    for n, operation in reversed(list(enumerate(operations))):
        after = set().union(*(readers.get(value, ()) for value in operation.writes))
        if operation.kind == 'map' and after and all(operations[m].kind != 'library' for m in after):
            levels[n] = min(levels[m] for m in after)
    return levels


def joined(members: List[Operation], numbers: set, readers: Dict[int, set]) -> Operation:
    made = {value for operation in members for value in operation.writes}
    found = Operation(' '.join(operation.name for operation in members), members[0].kind,
                      flops=sum(operation.flops for operation in members))
    for operation in members:
        for value, size in operation.reads.items():
            if value not in made:
                found.reads[value] = max(size, found.reads.get(value, 0))
        found.writes.update({value: size for value, size in operation.writes.items()
                             if value not in readers or readers[value] - numbers})
    return found


def trace(network: torch.nn.Module, images: Tensor) -> List[Operation]:
    """Operations of forward and backward of a network on meta tensors."""
    with Trace() as found:
        sum(out.float().mean() for out in network(images)).backward()
    return found.operations
