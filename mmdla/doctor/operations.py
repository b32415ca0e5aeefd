"""The operations of mmdla.ops, each beside its plain definition in PyTorch.

Both take tensors by name, a norm and a DropPath, and return the results by name. An operation returns
None where the implementation in use does not take the tensors.
"""
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdla import ops
from mmdla.ops.backend import implementation, means_are_fast

Tensors = Dict[str, Tensor]
Shape = Tuple[int, int, int, int]
LAYERS = 3  # of a stage of a base form
SMALL = 0.25  # keeps what a sigmoid reads where it is neither 0 nor 1
# float32 in a network of float16 or bfloat16
PARAMETERS = ('value_weight', 'lambda_l', 'excite_weight', 'kernels')


class Operation(NamedTuple):
    """An operation in one of its forms.

    Attributes:
        name (str): In mmdla.ops, with its form.
        sizes (Callable): From the shape of the maps, (B, C, H, W), to those of the tensors by name.
        fused (Callable): By mmdla.ops.
        definition (Callable): In plain PyTorch.
        mode (str, optional): Of the norm, 'eval' or 'training'; None without a norm.
        switched (Callable, optional): What a ReLU ahead of each result reads, by its name. Near 0 a
            rounding decides the gradient, and none is asked for there.
    """

    name: str
    sizes: Callable[[Shape], Dict[str, Sequence[int]]]
    fused: Callable[..., Optional[Tensors]]
    definition: Callable[..., Tensors]
    mode: Optional[str] = None
    switched: Optional[Callable[..., Tensors]] = None


def depthwise(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight.to(x.dtype), padding=1, groups=x.shape[1])


def add_relu_mean(both: bool) -> Operation:

    def fused(t, norm, drop_path):
        if implementation(t['branch'], t['shortcut']) not in ('kernels', 'triton'):
            return None
        names = ('x', 'shortcut', 'y', 'z')
        found = zip(names, ops.add_relu_mean(t['branch'] * 1, t['shortcut'] * 1, both))
        return {name: value for name, value in found if value is not None}

    def definition(t, norm, drop_path):
        x = F.relu(t['branch'] + t['shortcut'])
        found = dict(x=x, shortcut=t['shortcut'] * 1, y=x.mean((2, 3)))
        return {**found, 'z': t['shortcut'].mean((2, 3))} if both else found

    return Operation(f'add_relu_mean ({"both means" if both else "one mean"})',
                     lambda shape: dict(branch=shape, shortcut=shape), fused, definition)


def light_attention(form: str, refresh: bool, excite: bool, mode: str) -> Operation:

    def sizes(shape):
        channels = shape[1]
        found = dict(x=shape, o=shape, value_weight=(channels, 1, 3, 3), score=shape[:2],
                     lambda_l=(channels, ))
        if refresh:
            found['d'] = shape[:2]
        if excite:
            found['excite_weight'] = (channels, 1, 3, 3)
        return found

    def fused(t, norm, drop_path):
        if not ops.light_is_fast(t['x'], t['o'], norm):
            return None
        return dict(out=ops.light_attention(
            t['x'] * 1, t['o'], t['value_weight'], t['score'], t['lambda_l'], t.get('d'),
            t.get('excite_weight'), norm, drop_path))

    def definition(t, norm, drop_path):
        o = ops.scale(t['o'], t['d']) if refresh else t['o']
        o = o + depthwise(t['o'], t['excite_weight']) if excite else o
        value = depthwise(t['x'], t['value_weight'])
        o = ops.scale(o, t['lambda_l']) + ops.scale(value, t['score'])
        return dict(out=t['x'] + drop_path(norm(o)))

    return Operation(f'light_attention ({form}, {mode})', sizes, fused, definition, mode)


def base_attention(mode: str) -> Operation:
    """Layers of one stage, each with its own x, over shared values; the norm is one."""

    def sizes(shape):
        batch, channels = shape[:2]
        found = {}
        for i in range(1, LAYERS + 1):
            found.update({f'x{i}': shape, f'kernel{i}': (channels, 1, 3, 3),
                          f'weights{i}': (batch, i, channels)})
        return found

    def fused(t, norm, drop_path):
        found, values = {}, ()
        for i in range(1, LAYERS + 1):
            if not ops.base_is_fast(t[f'x{i}'], values, norm):
                return None
            found[f'out{i}'], values = ops.base_attention(
                t[f'x{i}'] * 1, t[f'kernel{i}'], t[f'weights{i}'], values, norm, drop_path)
        return {**found, 'value1': values[0]}

    def before_relu(t, norm, drop_path):
        found, values = {}, []
        for i in range(1, LAYERS + 1):
            values.append(depthwise(t[f'x{i}'], t[f'kernel{i}']))
            found[f'out{i}'] = norm(ops.weighted_sum(t[f'weights{i}'], values))
        return found

    def definition(t, norm, drop_path):
        found = {name: t[f'x{name[3:]}'] + drop_path(F.relu(o))
                 for name, o in before_relu(t, norm, drop_path).items()}
        return {**found, 'value1': depthwise(t['x1'], t['kernel1'])}

    return Operation(f'base_attention ({LAYERS} layers, {mode})', sizes, fused, definition, mode,
                     before_relu)


def channel_convolution() -> Operation:

    def fused(t, norm, drop_path):
        if not means_are_fast(t['y'], t['kernels']):
            return None
        return dict(out=ops.channel_convolution(t['y'], t['kernels']))

    def definition(t, norm, drop_path):
        windows = F.pad(t['y'], (1, 1)).unfold(-1, 3, 1)
        return dict(out=(windows[:, :, None] * t['kernels'][:, :, None]).sum(-1))

    return Operation('channel_convolution', lambda s: dict(y=(s[0], 2, s[1]), kernels=(2, 2, 3)), fused,
                     definition)


def self_score() -> Operation:

    def fused(t, norm, drop_path):
        if not means_are_fast(t['y'], t['kernels']):
            return None
        return dict(out=ops.self_score(t['y'], SMALL * t['kernels'], t['y'].shape[1]))

    def definition(t, norm, drop_path):
        channels = t['y'].shape[1]
        windows = F.pad(t['y'], (1, 1)).unfold(-1, 3, 1)
        query, key = ((windows * kernel).sum(-1) for kernel in SMALL * t['kernels'])
        score = (query * key).sum(-1, keepdim=True) / channels**0.5
        return dict(out=score.sigmoid().expand(-1, channels))

    return Operation('self_score', lambda s: dict(y=s[:2], kernels=(2, 3)), fused, definition)


def dsu_update(layers: Optional[int]) -> Operation:

    def sizes(shape):
        batch, channels = shape[:2]
        between = () if layers is None else (layers, )
        return dict(pre=(batch, *between, 3 * channels),
                    c=(batch, channels) if layers is None else (batch, 1, channels))

    def fused(t, norm, drop_path):
        if not ops.dsu_update_is_fast(t['pre'], t['c']):
            return None
        return dict(out=ops.dsu_update(t['pre'], t['c']))

    def definition(t, norm, drop_path):
        i, f, new = t['pre'].chunk(3, -1)
        return dict(out=f.sigmoid() * t['c'] + i.sigmoid() * new.tanh())

    form = f'{layers} layers' if layers else 'one layer'
    return Operation(f'dsu_update ({form})', sizes, fused, definition)


def linear(weight: Tensor, bias: Optional[Tensor] = None) -> nn.Linear:
    """A linear layer whose weights are these tensors, which need not be leaves."""
    layer = nn.Linear(*weight.shape[::-1], bias=False)
    del layer.weight, layer.bias
    layer.weight, layer.bias = weight, bias
    return layer


def dsu(layers: Optional[int]) -> Operation:

    def sizes(shape):
        batch, channels = shape[:2]
        hidden = max(channels // 4, 2)
        many = dict(y=shape[:2], c=shape[:2]) if layers is None else dict(
            y=(batch, layers, channels), c=(batch, 1, channels))
        return dict(**many, squeeze=(hidden, 2 * channels), expand=(3 * channels, hidden),
                    bias=(3 * channels, ))

    def fused(t, norm, drop_path):
        squeeze, expand = linear(SMALL * t['squeeze']), linear(SMALL * t['expand'], t['bias'])
        if not ops.dsu_is_fast(t['y'], t['c'], squeeze, expand):
            return None
        return dict(out=ops.dsu(t['y'], t['c'], squeeze, expand))

    def definition(t, norm, drop_path):
        joined = torch.cat([t['c'].sigmoid().expand_as(t['y']), t['y']], -1)
        hidden = F.relu(F.linear(joined, SMALL * t['squeeze']))
        i, f, new = F.linear(hidden, SMALL * t['expand'], t['bias']).chunk(3, -1)
        return dict(out=f.sigmoid() * t['c'] + i.sigmoid() * new.tanh())

    return Operation(f'dsu ({f"{layers} layers" if layers else "one layer"})', sizes, fused, definition)


def operations() -> List[Operation]:
    """Each operation in each of its forms."""
    forms = (('MRLA-L', False, False), ('DLA-L', True, True), ('DLA-L without E', True, False))
    modes = ('eval', 'training')
    return [
        add_relu_mean(False), add_relu_mean(True),
        *(light_attention(*form, mode) for form in forms for mode in modes),
        *(base_attention(mode) for mode in modes),
        channel_convolution(), self_score(), dsu_update(None), dsu_update(4),
        dsu(None), dsu(4)]


class SomeDropped(nn.Module):
    """A DropPath that drops the second sample, and scales the others, whatever the random numbers."""

    drop_prob = 0.25

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = torch.full((len(x), 1, 1, 1), 1 / (1 - self.drop_prob), dtype=x.dtype, device=x.device)
        kept[1:2] = 0
        return x * kept
