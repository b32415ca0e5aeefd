"""The papers' equations written out, slowly, sample by sample.

Nothing here is shared with the package: it takes a stage's blocks, which give a residual branch
and a shortcut, and the stage's parameters by name.
"""
import math

import torch

NORMALIZERS = {
    'sigmoid': lambda c: 1 / (1 + torch.exp(-c)),
    'identity': lambda c: c,
    'tanh': lambda c: (torch.exp(2 * c) - 1) / (torch.exp(2 * c) + 1),
    'relu': lambda c: c * (c > 0),
}
sigma = NORMALIZERS['sigmoid']


def gap(x):
    """Mean over the positions of one map (C, H, W)."""
    return torch.stack([channel.sum() / channel.numel() for channel in x])


def conv1d(y, weight):
    """The C means as a sequence, zero padded."""
    k = len(weight)
    padded = torch.cat([y.new_zeros(k // 2), y, y.new_zeros(k // 2)])
    return torch.stack([sum(weight[j] * padded[i + j] for j in range(k)) for i in range(len(y))])


def depthwise(x, weight):
    """3x3, (C, H, W) with weights (C, 1, 3, 3), zero padded."""
    channels, height, width = x.shape
    padded = x.new_zeros(channels, height + 2, width + 2)
    padded[:, 1:-1, 1:-1] = x
    return sum(weight[:, 0, i, j, None, None] * padded[:, i:i + height, j:j + width]
               for i in range(3) for j in range(3))


def linear(x, weight, bias=0):
    return (weight * x).sum(1) + bias


def light_attention(x, o, p, dim):
    """MRLA, Eq. 3 for one sample: lambda * o_{l-1} + sigmoid(q . k / sqrt(D)) v."""
    y = gap(x)
    q, k = conv1d(y, p['query.weight'][0, 0]), conv1d(y, p['key.weight'][0, 0])
    v = depthwise(x, p['value.weight'])
    out = []
    for channel in range(len(y)):
        head = slice(channel // dim * dim, channel // dim * dim + dim)
        s = sum(q[head][i] * k[head][i] for i in range(dim)) / math.sqrt(dim)
        out.append(p['lambda_l'][channel] * o[channel] + sigma(s) * v[channel])
    return torch.stack(out)


def perceptron(x, p, name):
    hidden = linear(x, p[f'{name}.0.weight'], p[f'{name}.0.bias'])
    return linear(hidden * (hidden > 0), p[f'{name}.2.weight'], p[f'{name}.2.bias'])


def dsu(y, c_prev, p, form, normalizer, first=False):
    """DLA, Eq. 7-9 for one sample."""
    h = NORMALIZERS[normalizer](c_prev)
    if form == 'joint':
        s = linear(torch.cat([h, y]), p['squeeze.weight'])
        s = s * (s > 0)
        pre = linear(s, p['expand.weight'], p['expand.bias'])
    else:
        h = torch.zeros_like(h) if first else h
        pre = perceptron(y, p, 'from_input') + perceptron(h, p, 'from_context')
    i, f, c = pre[:len(y)], pre[len(y):2 * len(y)], pre[2 * len(y):]
    return sigma(f) * c_prev + sigma(i) * NORMALIZERS['tanh'](c)


def lstm(pre, c_prev, out):
    n = len(c_prev)
    i, f, g, o = pre[:n], pre[n:2 * n], pre[2 * n:3 * n], pre[3 * n:]
    c = sigma(f) * c_prev + sigma(i) * NORMALIZERS['tanh'](g)
    return sigma(o) * NORMALIZERS[out](c), c


class Unit:
    """A context unit for one sample: ``step(y, state) -> state`` and the output of a state."""

    def __init__(self, params, type='DSU', form='joint', normalizer='sigmoid', **_):
        self.p, self.type, self.form, self.normalizer = params, type, form, normalizer

    def step(self, y, state, c_0=None):
        """State (h, c); None before the first layer, where c is c_0 or zero."""
        p, first = self.p, state is None
        start = torch.zeros_like(y) if c_0 is None else c_0
        h, c = (torch.zeros_like(y), start) if first else state
        if self.type == 'DSU':
            c = dsu(y, c, p, self.form, self.normalizer, first and c_0 is None)
            return sigma(c), c
        if self.type == 'DIA':
            return lstm(perceptron(y, p, 'from_input') + perceptron(h, p, 'from_context'), c, 'sigmoid')
        h = start if first and self.type == 'RNN' else h
        pre = (linear(y, p['from_input.weight'], p['from_input.bias']) +
               linear(h, p['from_context.weight'], p['from_context.bias']))
        if self.type == 'LSTM':
            return lstm(pre, c, 'tanh')
        h = NORMALIZERS['tanh'](pre)
        return h, h


def below(params, prefix):
    return {k[len(prefix):]: v for k, v in params.items() if k.startswith(prefix)}


def light_stage(stage, x, dim=32, dla=False, unit=None, refresh_by='output'):
    """A whole stage (B, C_in, H, W) to (B, C, H', W'); the norms are the stage's own."""
    params = dict(stage.attention.named_parameters())
    dyn = Unit(below(params, 'context.unit.'), **(unit or {}))
    states = [None] * len(x)
    for index in range(len(stage)):
        branch, shortcut = stage[index].parts(x, x)
        total = branch + shortcut
        x = total * (total > 0)
        o = []
        for b in range(len(x)):
            past = shortcut[b]
            if dla:
                states[b] = dyn.step(gap(x[b]), states[b], params.get('context.initial'))
                h, c = dyn.step(gap(past), states[b])
                refreshed = past * (h if refresh_by == 'output' else c)[:, None, None]
                if 'excite.weight' in params:
                    refreshed = refreshed + depthwise(past, params['excite.weight'])
                past = refreshed
            o.append(light_attention(x[b], past, below(params, f'layers.{index}.'), dim))
        x = x + stage.attention.norms[index](torch.stack(o))
    return x


def base_attention(q, keys, values, dim):
    """MRLA, Eq. 2 for one sample: softmax over the layers, head by head."""
    out = []
    for channel in range(len(q)):
        head = slice(channel // dim * dim, channel // dim * dim + dim)
        s = torch.stack([(q[head] * k[head]).sum() / math.sqrt(dim) for k in keys])
        a = torch.exp(s) / torch.exp(s).sum()
        out.append(sum(a[t] * values[t][channel] for t in range(len(keys))))
    return torch.stack(out)


def base_stage(stage, x, dim=16, dla=False, unit=None, refresh_by='output', refresh='features'):
    """As above for the base form. Every refresh rewrites the maps themselves."""
    params = dict(stage.attention.named_parameters())
    dyn = Unit(below(params, 'context.unit.'), **(unit or {}))
    states, features, keys, values = ([[] for _ in x] for _ in range(4))
    states = [None] * len(x)
    for index in range(len(stage)):
        branch, shortcut = stage[index].parts(x, x)
        total = branch + shortcut
        x = total * (total > 0)
        o = []
        for b in range(len(x)):
            if dla:
                states[b] = dyn.step(gap(x[b]), states[b], params.get('context.initial'))

                def d(y, state=states[b]):
                    h, c = dyn.step(y, state)
                    return h if refresh_by == 'output' else c

                if refresh == 'features':
                    features[b] = [past * d(gap(past))[:, None, None] for past in features[b]]
                else:
                    keys[b] = [k * d(k) for k in keys[b]]
                    values[b] = [v * d(gap(v))[:, None, None] for v in values[b]]
            features[b].append(x[b])
            layers = [below(params, f'layers.{t}.') for t in range(index + 1)]
            if refresh == 'features':
                keys[b] = [conv1d(gap(f), p['key.weight'][0, 0]) for f, p in zip(features[b], layers)]
                values[b] = [depthwise(f, p['value.weight']) for f, p in zip(features[b], layers)]
            else:
                keys[b].append(conv1d(gap(x[b]), layers[-1]['key.weight'][0, 0]))
                values[b].append(depthwise(x[b], layers[-1]['value.weight']))
            q = conv1d(gap(x[b]), layers[-1]['query.weight'][0, 0])
            o.append(base_attention(q, keys[b], values[b], dim))
        normed = stage.attention.norms[index](torch.stack(o))
        x = x + normed * (normed > 0)
    return x


def lii_stage(stage, x, unit=None):
    """LII: the unit's output on the branch's means multiplies the branch."""
    params = dict(stage.attention.named_parameters())
    dyn = Unit(below(params, 'context_unit.'), **{'type': 'DIA', **(unit or {})})
    states = [None] * len(x)
    for index in range(len(stage)):
        branch, shortcut = stage[index].parts(x, x)
        total = []
        for b in range(len(x)):
            states[b] = dyn.step(gap(branch[b]), states[b])
            total.append(branch[b] * states[b][0][:, None, None] + shortcut[b])
        total = torch.stack(total)
        x = total * (total > 0)
    return x
