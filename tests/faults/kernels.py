"""Faults in the C++ kernels."""
from .fault import Fault

CSRC = 'mmdla/ops/csrc'
OPS = 'tests/ops/test_layer_attention.py'
NHWC = (OPS, 'channels_last')
DSU = ('tests/ops/test_means.py', 'test_dsu')
KERNELS = (OPS, 'every_path_is_the_definition and kernels')

FAULTS = [
    Fault('tap beyond the upper border', CSRC,
          'right += inside.only(inside.above, load<A>(up + 1)) * taps[2];',
          'right += load<A>(up + 1) * taps[2];', KERNELS),
    Fault('lambda on one term only, in C++', CSRC,
          'excite_weight ? lambda_l[c] * excite_weight[9 * c + t]',
          'excite_weight ? excite_weight[9 * c + t]', KERNELS),
    Fault('unbiased variance normalises in C++', CSRC,
          'return {mean, squares / (B * area)};', 'return {mean, squares / (B * area - 1)};', KERNELS),
    Fault('sign in the gradient through the norm, in C++', CSRC,
          'times * load<A>(g + n) - (level + load<A>(u + n) * tilt)',
          'times * load<A>(g + n) - (level - load<A>(u + n) * tilt)', KERNELS),
    Fault('gradient of the base kernel from the last sample alone, in C++', CSRC,
          'sums[t] += of_x.taps[t]', 'sums[t] = of_x.taps[t]', KERNELS),
    Fault('maps of a base layer beyond the fourth alone', CSRC, 'area, t == 0, u);', 'area, true, u);',
          KERNELS),
    Fault('gradient from the next row, in C++', CSRC,
          'value = inside.only(inside.right, load<A>(here + 1));', 'value = load<A>(here + 1);',
          KERNELS),
    Fault('gradient through the means of the shortcut missing, in C++', CSRC,
          '[n] + through_z + through_relu', '[n] + through_relu', KERNELS),
    Fault('gradient of a frozen norm without DropPath, in C++', CSRC,
          'constant = normalize ? A(1) : scale * slope;', 'constant = normalize ? A(1) : slope;',
          (OPS, 'drop_path_drops and kernels')),
    Fault('gradient to a shared context not added up, in C++', CSRC,
          'tc[at + n] += g[n] * f;', 'tc[at + n] = g[n] * f;',
          ('tests/ops/test_means.py', 'test_dsu_update')),
    Fault('bfloat16 not rounded to nearest', CSRC, '+ 0x7fff;', '+ 0x7ffe;',
          (OPS, 'halves_are_rounded')),
    Fault('neighbour of channels_last rows', CSRC,
          '(w + tap % 3 - 1) * lanes<A>', '(w + tap % 3) * lanes<A>', NHWC),
    Fault('variances of the parts of a channels_last map', CSRC, 'difference * before * share',
          'difference * share', NHWC),
    Fault('gradient through the mean of channels_last maps', CSRC,
          'load<A>(norm.level.data() + c) - tilt', 'load<A>(norm.level.data() + c) + tilt', NHWC),
    Fault('gradient of a frozen norm without DropPath, channels_last', CSRC,
          'normalize ? 1 : double(scale_of(b)) * norm.slope[c]', 'normalize ? 1 : norm.slope[c]', NHWC),
    Fault('gradient of the DSU past the sigmoid of the context', CSRC,
          'grad_c.add_(at::sigmoid_backward(grad_h, h))', 'grad_c.add_(grad_h)', DSU),
    Fault('gradient of a context shared by layers from the first alone', CSRC,
          '.view({y.size(0), y.size(1), hidden}).sum(1)',
          '.view({y.size(0), y.size(1), hidden}).select(1, 0).contiguous()', DSU),
]
