"""Layer attention on tokens written out, slowly, sample by sample, as in literal.py.

Nothing here is shared with the package: it takes the host's blocks, the tokens behind the
position embedding, and the other parameters by name.
"""
import math

import torch
from literal import Unit, below, conv1d, depthwise, dsu, gap, sigma


def layer_norm(tokens, p, eps=1e-6):
    """Each of (L, C) on its own."""
    out = []
    for token in tokens:
        mean = token.sum() / len(token)
        variance = ((token - mean) * (token - mean)).sum() / len(token)
        out.append((token - mean) / torch.sqrt(variance + eps) * p['weight'] + p['bias'])
    return torch.stack(out)


def gelu(x):
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def as_map(tokens, h, w):
    """(h w, C) to (C, h, w), row by row."""
    return torch.stack([torch.stack([tokens[row * w + column] for column in range(w)], 1)
                        for row in range(h)], 1)


def as_tokens(patches):
    """(C, h, w) to (h w, C)."""
    _, h, w = patches.shape
    return torch.stack([patches[:, row, column] for row in range(h) for column in range(w)])


def head_scores(q, k, dim):
    """One q . k / sqrt(D) a channel, that of its head."""
    scores = [sum(q[first + i] * k[first + i] for i in range(dim)) / math.sqrt(dim)
              for first in range(0, len(q), dim)]
    return torch.stack([scores[channel // dim] for channel in range(len(q))])


def query_key_value(z, p):
    y = gap(z)
    q, k = conv1d(y, p['query.weight'][0, 0]), conv1d(y, p['key.weight'][0, 0])
    return q, k, depthwise(z, p['value.weight'])


def light(z, o, p, dim):
    """MRLA, Eq. 3 with a GELU on the value."""
    q, k, v = query_key_value(z, p)
    s = sigma(head_scores(q, k, dim))
    return torch.stack([p['lambda_l'][c] * o[c] + s[c] * gelu(v[c]) for c in range(len(v))])


def base(z, p, dim, keys, values):
    """MRLA, Eq. 2 over the keys and values of the group, which grow."""
    q, k, v = query_key_value(z, p)
    keys.append(k), values.append(v)
    weights = [torch.exp(head_scores(q, key, dim)) for key in keys]
    total = sum(weights)
    return sum((w / total)[:, None, None] * value for w, value in zip(weights, values))


def dla_base(z, index, shared, dim, unit, group, refresh, gates):
    """DLA-B over a group of four blocks: every earlier map, or key and value, is rewritten."""
    c = group.get('c', shared.get('context.initial', z.new_zeros(len(z))))
    first = not group and 'context.initial' not in shared
    c = dsu(gap(z), c, unit, first=first, **gates)

    def d(y):
        return sigma(dsu(y, c, unit, **gates))

    maps = [past * d(gap(past))[:, None, None] for past in group.get('maps', [])] + [z]
    layers = [below(shared, f'layers.{t}.') for t in range(index + 1 - len(maps), index + 1)]
    q, key, value = query_key_value(z, layers[-1])
    if refresh == 'features':
        keys = [conv1d(gap(past), p['key.weight'][0, 0]) for past, p in zip(maps, layers)]
        values = [depthwise(past, p['value.weight']) for past, p in zip(maps, layers)]
    else:
        keys = [past * d(past) for past in group.get('keys', [])] + [key]
        values = [past * d(gap(past))[:, None, None] for past in group.get('values', [])] + [value]
    group.update(c=c, maps=maps, keys=keys, values=values)
    weights = [torch.exp(head_scores(q, key, dim)) for key in keys]
    return sum((w / sum(weights))[:, None, None] * value for w, value in zip(weights, values))


def lii(model, x, grid, unit):
    """The blocks' whole branches, of the patches alone, times the unit's output on their means."""
    extra, states = x.shape[1] - grid[0] * grid[1], [None] * len(x)
    for block in model.layers:
        after, out = block(x), []
        for b in range(len(x)):
            branch = as_map(after[b, extra:] - x[b, extra:], *grid)
            states[b] = unit.step(gap(branch), states[b])
            scaled = as_tokens(branch * states[b][0][:, None, None])
            out.append(torch.cat([after[b, :extra], x[b, extra:] + scaled]))
        x = torch.stack(out)
    return x


def forward(model, x, grid, variant, dim=16, form='joint', normalizer='sigmoid', refresh_by='output',
            refresh='features'):
    """Tokens (B, L, C) behind the position embedding to those behind the last norm."""
    params = dict(model.named_parameters())
    shared = below(params, 'attention.0.')
    unit = below(shared, 'context.unit.')
    extra = x.shape[1] - grid[0] * grid[1]
    if variant == 'lii':
        x = lii(model, x, grid, Unit(below(shared, 'context_unit.'), 'DIA'))
        return torch.stack([layer_norm(tokens, below(params, 'ln1.')) for tokens in x])
    contexts, groups = [None] * len(x), [None] * len(x)
    for index, block in enumerate(model.layers):
        before, x = x, block(x)
        out = []
        for b in range(len(x)):
            z = layer_norm(x[b], below(shared, f'norms.{index}.'))
            patches, p = as_map(z[extra:], *grid), below(shared, f'layers.{index}.')
            if variant == 'base':
                if index in (0, 4, 8):
                    groups[b] = ([], [])
                o = base(patches, p, dim, *groups[b])
            elif variant == 'dla_base':
                groups[b] = groups[b] if index % 4 else {}
                gates = dict(form=form, normalizer=normalizer)
                o = dla_base(patches, index, shared, dim, unit, groups[b], refresh, gates)
            else:
                o = layer_norm(before[b], below(shared, f'shortcut_norms.{index}.'))
                o = as_map(o[extra:], *grid)
                if variant == 'dla':
                    learned = 'context.initial' in shared
                    first, c = contexts[b] is None and not learned, contexts[b]
                    if c is None:
                        c = shared.get('context.initial', x.new_zeros(x.shape[2]))
                    contexts[b] = c = dsu(gap(patches), c, unit, form, normalizer, first)
                    d = dsu(gap(o), c, unit, form, normalizer)
                    d = sigma(d) if refresh_by == 'output' else d
                    excited = depthwise(o, shared['excite.weight']) if 'excite.weight' in shared else 0
                    o = o * d[:, None, None] + excited
                o = light(patches, o, p, dim)
            out.append(x[b] + torch.cat([z[:extra], as_tokens(o)]))
        x = torch.stack(out)
    return torch.stack([layer_norm(tokens, below(params, 'ln1.')) for tokens in x])
