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
        out.append(p['lambda_t'][channel] * o[channel] + sigma(s) * v[channel])
    return torch.stack(out)


def dsu(y, c_prev, p, gates, normalizer, first=False):
    """DLA, Eq. 7-9 for one sample."""
    h = NORMALIZERS[normalizer](c_prev)
    if gates == 'joint':
        s = linear(torch.cat([h, y]), p['squeeze.weight'])
        s = s * (s > 0)
        pre = linear(s, p['expand.weight'], p['expand.bias'])
    else:
        h = torch.zeros_like(h) if first else h
        pre = 0
        for value, name in ((y, 'from_input'), (h, 'from_context')):
            hidden = linear(value, p[f'{name}.0.weight'], p[f'{name}.0.bias'])
            hidden = hidden * (hidden > 0)
            pre = pre + linear(hidden, p[f'{name}.2.weight'], p[f'{name}.2.bias'])
    i, f, c = pre[:len(y)], pre[len(y):2 * len(y)], pre[2 * len(y):]
    return sigma(f) * c_prev + sigma(i) * NORMALIZERS['tanh'](c)


def below(params, prefix):
    return {k[len(prefix):]: v for k, v in params.items() if k.startswith(prefix)}


def light_stage(stage, x, dim=32, dla=False, gates='joint', normalizer='sigmoid', gate='sigmoid'):
    """A whole stage (B, C_in, H, W) to (B, C, H', W'); the norms are the stage's own."""
    params = dict(stage.attention.named_parameters())
    unit = below(params, 'context_unit.')
    contexts = [None] * len(x)
    for index in range(len(stage)):
        branch, shortcut = stage[index](x)
        total = branch + shortcut
        x = total * (total > 0)
        o = []
        for b in range(len(x)):
            past = shortcut[b]
            if dla:
                first = contexts[b] is None
                c = contexts[b]
                if first:
                    c = params.get('initial_context', x.new_zeros(x.shape[1]))
                first = first and 'initial_context' not in params
                contexts[b] = c = dsu(gap(x[b]), c, unit, gates, normalizer, first)
                d = NORMALIZERS[gate](dsu(gap(past), c, unit, gates, normalizer))
                refreshed = past * d[:, None, None]
                if 'excite.weight' in params:
                    refreshed = refreshed + depthwise(past, params['excite.weight'])
                past = refreshed
            o.append(light_attention(x[b], past, below(params, f'layers.{index}.'), dim))
        x = x + stage.attention.norms[index](torch.stack(o))
    return x
