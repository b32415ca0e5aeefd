"""Faults in the C++ kernels."""
from .fault import Fault

CSRC = 'mmdla/ops/csrc'
OPS = 'tests/ops/test_layer_attention.py'
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
          'sums[t] += part[t]', 'sums[t] = part[t]', KERNELS),
    Fault('gradient through the means of the shortcut missing, in C++', CSRC,
          '[n] + through_z + through_relu', '[n] + through_relu', KERNELS),
    Fault('gradient of a frozen norm without DropPath, in C++', CSRC,
          'constant = normalize ? A(1) : scale * slope;', 'constant = normalize ? A(1) : slope;',
          (OPS, 'drop_path_drops and kernels')),
    Fault('gradient to a shared context not added up, in C++', CSRC,
          'tc[at + n] += g[n] * f;', 'tc[at + n] = g[n] * f;',
          ('tests/ops/test_means.py', 'test_dsu_update')),
]
