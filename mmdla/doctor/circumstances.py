"""Whether an operation gives the same on a side stream, in a CUDA graph, and beyond 2^31 elements."""
from typing import Callable, Iterator, List, Optional

import torch
from torch import Tensor, nn

from mmdla import ops
from mmdla.errors import reason

from .checks import Case, Check, check, draw, failed, norm_of, not_taken
from .operations import Operation, Shape, SomeDropped, Tensors, operations

ORDINARY = Case(torch.bfloat16, 'NHWC', (4, 64, 28, 30))
LARGE = (3, 256, 1700, 1700)  # 2.2e9 elements
# maps of the size of the inputs that a forward and backward pass holds, generously
MAPS = dict(add_relu_mean=12, light_attention=14, base_attention=36)
BYTES = 2


def fused_on_maps(modes=(None, 'eval', 'training')) -> List[Operation]:
    return [one for one in operations() if one.name.split()[0] in MAPS and one.mode in modes]


def call(compute: Callable, tensors: Tensors, norm: Optional[nn.Module]) -> Tensors:
    """Outputs, and gradients of the inputs where each output is its own gradient.

    Nothing where the operation does not take the tensors. Nothing is copied between host and device, so
    that a CUDA graph can record it.
    """
    drop_path = SomeDropped().train(norm is not None and norm.training)
    leaves = {name: t.detach().requires_grad_() for name, t in tensors.items()}
    outputs = compute(leaves, norm, drop_path)
    if outputs is None:
        return {}
    found = {name: out.detach() for name, out in outputs.items()}
    grads = torch.autograd.grad(list(outputs.values()), list(leaves.values()), list(found.values()),
                                allow_unused=True)
    found.update({f'the gradient of {name}': g for name, g in zip(leaves, grads) if g is not None})
    return found


def on_side_stream(once: Callable[[], Tensors]) -> Tensors:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        found = once()
    stream.synchronize()
    return found


def in_cuda_graph(once: Callable[[], Tensors]) -> Tensors:
    for _ in range(3):
        on_side_stream(once)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = once()
    for value in found.values():
        value.zero_()
    graph.replay()
    torch.cuda.synchronize()
    return found


def same_in(circumstance: str, within: Callable[[Callable[[], Tensors]], Tensors], how: str,
            device: torch.device) -> Iterator[Check]:
    """Each operation on maps, in a circumstance and in an ordinary call, bit for bit.

    Args:
        circumstance (str): What it is called.
        within (Callable): Calls a function there, and returns what it returns.
        how (str): Implementation of mmdla.ops.
        device (torch.device): Of the tensors.
    """
    for operation in fused_on_maps():
        tensors = draw(operation, ORDINARY, device, 0)
        norm = norm_of(operation, ORDINARY, device, 0)

        def once(operation=operation, tensors=tensors, norm=norm):
            return call(operation.fused, tensors, norm)

        try:
            with ops.use(how):
                expected, found = once(), within(once)
            others = [name for name in found if not torch.equal(found[name], expected[name])]
            if not expected:
                yield Check(operation.name, circumstance, unchecked=not_taken(operation, ORDINARY))
            elif others:
                yield failed(operation.name, circumstance,
                             f'{others[0]} differs from that of an ordinary call')
            else:
                yield Check(operation.name, circumstance, 0.0)
        except Exception as error:
            yield failed(operation.name, circumstance, f'it raised {reason(error)}')


def check_large(how: str, device: torch.device, layout: str, shape: Shape = LARGE,
                free: float = float('inf')) -> Iterator[Check]:
    """Last samples of large maps against a call with the first and the last sample alone.

    Args:
        how, device: See :func:`same_in`.
        layout (str): 'NCHW' or 'NHWC'.
        shape (tuple): Of the maps, (B, C, H, W), B at least 3.
        free (float): Bytes of memory that may be used.
    """
    case, few = Case(torch.bfloat16, layout, shape), Case(torch.bfloat16, layout, (2, *shape[1:]))
    for operation in fused_on_maps((None, 'eval')):
        need = MAPS[operation.name.split()[0]] * torch.Size(shape).numel() * BYTES
        if need > free:
            yield Check(operation.name, str(case),
                        unchecked=f'2^31 elements: needs {need / 2**30:.0f} GiB of free GPU memory')
            continue
        try:
            yield large(operation, case, few, device, how)
        except torch.OutOfMemoryError:
            yield Check(operation.name, str(case), unchecked='2^31 elements: too little GPU memory')
        except Exception as error:
            yield failed(operation.name, str(case), f'it raised {reason(error)}')


def large(operation: Operation, case: Case, few: Case, device: torch.device, how: str) -> Check:
    """Samples as in ``few``, the first as often as ``case`` has samples less one."""
    own, norm = draw_on(operation, few, device), norm_of(operation, few, device, 0)
    try:
        many = {name: repeated(own[name], case) if tuple(size) != tuple(own[name].shape) else own[name]
                for name, size in operation.sizes(case.shape).items()}
        with ops.use('reference'), torch.no_grad():
            operation.definition(many, norm, SomeDropped().eval())
    except RuntimeError as error:
        text = f'2^31 elements: PyTorch itself cannot ({reason(error)})'
        return Check(operation.name, str(case), unchecked=text)
    with ops.use(how):
        expected = call(operation.fused, own, norm)
        found = call(operation.fused, many, norm)
    if not found:
        return Check(operation.name, str(case), unchecked=not_taken(operation, case))
    for name, true in expected.items():
        if true.shape == found[name].shape:
            continue
        error = (found[name][-1] - true[-1]).abs().max().item()
        allowed = 4 * torch.finfo(true.dtype).eps * true[-1].abs().max().item()
        if not error <= allowed:
            return failed(operation.name, str(case), f'{name} of the last sample is off by {error:.2e}, '
                          f'allowed are {allowed:.2e}')
    return Check(operation.name, str(case), 0.0)


def repeated(t: Tensor, case: Case) -> Tensor:
    """Of two samples, the first as often as the case has samples less one, then the second."""
    layout = case.format if t.dim() == 4 else torch.contiguous_format
    size = (case.shape[0], *t.shape[1:])
    out = torch.empty(size, dtype=t.dtype, device=t.device, memory_format=layout)
    out[:-1], out[-1] = t[0], t[1]
    return out


def draw_on(operation: Operation, case: Case, device: torch.device) -> Tensors:
    """:func:`draw`, with the numbers of large maps drawn on the device."""
    tiny = draw(operation, case._replace(shape=(*case.shape[:2], 1, 1)), device, 0)
    sizes = operation.sizes(case.shape)
    return {name: t if t.shape == torch.Size(sizes[name]) else torch.randn(
        sizes[name], dtype=t.dtype, device=device).contiguous(memory_format=case.format)
        for name, t in tiny.items()}


def check_gpu(how: str, device: torch.device) -> Iterator[Check]:
    """All circumstances of a GPU, and a second one where there is one."""
    yield from same_in('on a side stream', on_side_stream, how, device)
    yield from same_in('in a CUDA graph', in_cuda_graph, how, device)
    if torch.cuda.device_count() > 1:
        second = torch.device('cuda', (torch.cuda.current_device() + 1) % torch.cuda.device_count())
        for operation in fused_on_maps():
            yield check(operation, ORDINARY._replace(place=', on a second GPU'), second, how)
    else:
        yield Check('all', 'on a second GPU', unchecked='a second GPU: there is none')
    torch.cuda.empty_cache()
    for layout in ('NCHW', 'NHWC'):
        yield from check_large(how, device, layout, free=torch.cuda.mem_get_info(device)[0])
        torch.cuda.empty_cache()
