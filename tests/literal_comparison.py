"""The comparison systems' equations written out, slowly, sample by sample and position by position.

As in literal.py nothing is shared with the package: each function takes a layer for its parameters
by name (norms are the layer's own) and maps (B, C, H, W).
"""
import math

import torch
from literal import conv1d, gap, linear, sigma


def relu(x):
    return x * (x > 0)


def scale(u, gate):
    return torch.stack([channel * g for channel, g in zip(u, gate)])


def conv1x1(x, weight, bias=None):
    """(C, H, W) to (K, H, W) with weights (K, C, 1, 1)."""
    out = [sum(w[c, 0, 0] * x[c] for c in range(len(x))) for w in weight]
    return torch.stack(out if bias is None else [o + b for o, b in zip(out, bias)])


def conv(x, weight, stride=1):
    """(C, H, W) with odd weights (K, C, k, k), zero padded by k // 2."""
    channels, height, width = x.shape
    k = weight.shape[-1]
    padded = x.new_zeros(channels, height + k - 1, width + k - 1)
    padded[:, k // 2:k // 2 + height, k // 2:k // 2 + width] = x
    rows, columns = range(0, height, stride), range(0, width, stride)
    return torch.stack([
        torch.stack([torch.stack([(w * padded[:, i:i + k, j:j + k]).sum() for j in columns])
                     for i in rows]) for w in weight])


def softmax(values):
    e = [torch.exp(v) for v in values]
    return [v / sum(e) for v in e]


def se(layer, u):
    p = dict(layer.named_parameters())
    first, second = p['conv1.conv.weight'][:, :, 0, 0], p['conv2.conv.weight'][:, :, 0, 0]
    return torch.stack([scale(s, sigma(linear(relu(linear(gap(s), first)), second))) for s in u])


def eca(layer, u):
    weight = layer.conv.weight[0, 0]
    return torch.stack([scale(s, sigma(conv1d(gap(s), weight))) for s in u])


def cbam(layer, u):
    p = dict(layer.named_parameters())

    def mlp(y):
        hidden = relu(linear(y, p['mlp.0.weight'], p['mlp.0.bias']))
        return linear(hidden, p['mlp.2.weight'], p['mlp.2.bias'])

    gated, maps = [], []
    for s in u:
        largest = torch.stack([channel.max() for channel in s])
        gated.append(scale(s, sigma(mlp(gap(s)) + mlp(largest))))
        both = torch.stack([gated[-1].max(0).values, gated[-1].sum(0) / len(s)])
        maps.append(conv(both, p['conv.weight']))
    gates = sigma(layer.norm(torch.stack(maps)))
    return torch.stack([s * gate for s, gate in zip(gated, gates)])


def ba(layer, u, hidden):
    maps = [*hidden, u]
    total = 0
    for f, (projection, norm) in zip(maps, layer.squeezes):
        total = total + norm(torch.stack([linear(gap(s), projection.weight) for s in f]))
    return torch.stack([scale(s, sigma(linear(relu(t), layer.expand.weight))) for s, t in zip(u, total)])


def gc(layer, u):
    p = dict(layer.named_parameters())
    out = []
    for s in u:
        positions = [(i, j) for i in range(s.shape[1]) for j in range(s.shape[2])]
        mask = conv1x1(s, p['conv_mask.weight'], p['conv_mask.bias'])[0]
        weights = softmax([mask[i, j] for i, j in positions])
        g = sum(a * s[:, i, j] for a, (i, j) in zip(weights, positions))
        z = linear(g, p['channel_add_conv.0.weight'][:, :, 0, 0], p['channel_add_conv.0.bias'])
        z = (z - z.sum() / len(z)) / torch.sqrt(((z - z.sum() / len(z))**2).sum() / len(z) + 1e-5)
        z = relu(z * p['channel_add_conv.1.weight'][:, 0, 0] + p['channel_add_conv.1.bias'][:, 0, 0])
        added = linear(z, p['channel_add_conv.3.weight'][:, :, 0, 0], p['channel_add_conv.3.bias'])
        out.append(s + added[:, None, None])
    return torch.stack(out)


def nl(layer, x):
    p = dict(layer.named_parameters())
    out = []
    for s in x:
        theta, phi, g = (conv1x1(s, p[f'{n}.conv.weight'], p[f'{n}.conv.bias']).flatten(1)
                         for n in ('theta', 'phi', 'g'))
        y = []
        for i in range(theta.shape[1]):
            weights = softmax([(theta[:, i] * phi[:, j]).sum() / math.sqrt(len(phi))
                               for j in range(phi.shape[1])])
            y.append(sum(a * g[:, j] for j, a in enumerate(weights)))
        y = torch.stack(y, 1).view(-1, *s.shape[1:])
        out.append(s + conv1x1(y, p['conv_out.conv.weight'], p['conv_out.conv.bias']))
    return torch.stack(out)


def a2(layer, x):
    p = dict(layer.named_parameters())
    z = []
    for s in x:
        a, b, v = (conv1x1(s, p[f'{n}.weight']).flatten(1)
                   for n in ('features', 'gathering', 'distribution'))
        positions = range(a.shape[1])
        gathered = [softmax([b[n, j] for j in positions]) for n in range(len(b))]
        descriptors = [sum(g[j] * a[:, j] for j in positions) for g in gathered]
        handed = [sum(w * d for w, d in zip(softmax(list(v[:, j])), descriptors)) for j in positions]
        z.append(conv1x1(torch.stack(handed, 1).view(-1, *s.shape[1:]), p['out.weight']))
    return x + layer.norm(torch.stack(z))


def averaged(x):
    """Means over 3x3 windows at every second position, of what lies inside the map."""
    _, height, width = x.shape
    return torch.stack([
        torch.stack([gap(x[:, max(i - 1, 0):i + 2, max(j - 1, 0):j + 2]) for j in range(0, width, 2)], 1)
        for i in range(0, height, 2)], 1)


def aa(layer, x, heads=8):
    """Of a layer whose position tables have the map's own size."""
    p = dict(layer.named_parameters())
    stride = layer.conv.stride[0]
    out = []
    for s in x:
        near = conv(s, p['conv.weight'], stride)
        far = averaged(s) if stride == 2 else s
        _, height, width = far.shape
        qkv = conv1x1(far, p['qkv.weight'])
        dk = (len(qkv) - len(p['out.weight'])) // 2
        d, dv = dk // heads, len(p['out.weight']) // heads
        positions = [(i, j) for i in range(height) for j in range(width)]
        maps = []
        for n in range(heads):
            q = qkv[n * d:(n + 1) * d] / math.sqrt(d)
            k = qkv[dk + n * d:dk + (n + 1) * d]
            v = qkv[2 * dk + n * dv:2 * dk + (n + 1) * dv]
            rows = []
            for iy, ix in positions:
                keys = [
                    k[:, jy, jx] + p['columns'][jx - ix + width - 1] + p['rows'][jy - iy + height - 1]
                    for jy, jx in positions]
                logits = [(q[:, iy, ix] * key).sum() for key in keys]
                rows.append(sum(a * v[:, jy, jx] for a, (jy, jx) in zip(softmax(logits), positions)))
            maps.append(torch.stack(rows, 1).view(dv, height, width))
        out.append(torch.cat([near, conv1x1(torch.cat(maps), p['out.weight'])]))
    return torch.stack(out)


def rla_stage(stage, x, h):
    """A whole stage with its hidden map: (x, h) to (x, h)."""
    p = dict(stage.attention.named_parameters())
    for index, block in enumerate(stage):
        branch, shortcut = block.parts(x, torch.cat([x, h], 1))
        x = relu(branch + shortcut)
        if branch.shape[2:] != h.shape[2:]:
            _, _, height, width = h.shape
            h = torch.stack([
                torch.stack([h[:, :, i:i + 2, j:j + 2].mean((2, 3)) for j in range(0, width, 2)], 2)
                for i in range(0, height, 2)], 2)
        added = torch.stack([conv1x1(b, p['from_branch.weight']) for b in branch])
        h = torch.tanh(stage.attention.norms[index](h + added))
        h = torch.stack([conv(s, p['recurrent.weight']) for s in h])
    return x, h
