"""Layer attention on tokens written out, slowly, sample by sample, as in literal.py.

Nothing here is shared with the package: it takes the host's blocks, the tokens behind the
position embedding, and the other parameters by name.
"""
import math

import torch
from literal import NORMALIZERS, below, conv1d, depthwise, dsu, gap, sigma


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
    return torch.stack([p['lambda_t'][c] * o[c] + s[c] * gelu(v[c]) for c in range(len(v))])


def base(z, p, dim, keys, values):
    """MRLA, Eq. 2 over the keys and values of the group, which grow."""
    q, k, v = query_key_value(z, p)
    keys.append(k), values.append(v)
    weights = [torch.exp(head_scores(q, key, dim)) for key in keys]
    total = sum(weights)
    return sum((w / total)[:, None, None] * value for w, value in zip(weights, values))


def forward(model, x, grid, variant, dim=16, gates='joint', normalizer='sigmoid', gate='sigmoid'):
    """Tokens (B, L, C) behind the position embedding to those behind the last norm."""
    params = dict(model.named_parameters())
    shared = below(params, 'attention.')
    unit = below(shared, 'context_unit.')
    extra = x.shape[1] - grid[0] * grid[1]
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
            else:
                o = layer_norm(before[b], below(shared, f'shortcut_norms.{index}.'))
                o = as_map(o[extra:], *grid)
                if variant == 'dla':
                    learned = 'initial_context' in shared
                    first, c = contexts[b] is None and not learned, contexts[b]
                    if c is None:
                        c = shared.get('initial_context', x.new_zeros(x.shape[2]))
                    contexts[b] = c = dsu(gap(patches), c, unit, gates, normalizer, first)
                    d = NORMALIZERS[gate](dsu(gap(o), c, unit, gates, normalizer))
                    excited = depthwise(o, shared['excite.weight']) if 'excite.weight' in shared else 0
                    o = o * d[:, None, None] + excited
                o = light(patches, o, p, dim)
            out.append(x[b] + torch.cat([z[:extra], as_tokens(o)]))
        x = torch.stack(out)
    return torch.stack([layer_norm(tokens, below(params, 'ln1.')) for tokens in x])
