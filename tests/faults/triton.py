"""Faults in the Triton kernels, which are interpreted, or compiled ahead."""
from .fault import Fault

HERE = 'mmdla/ops/triton_kernels'
TILES = ('tests/ops/test_triton_tiling.py', 'own_process')
COMPILED = ('tests/ops/test_triton_compiled.py', 'short')
VALUES = 'tests/ops/test_triton_kernels.py'
PAIR, FOLD, ANY = ((VALUES, f'values and {name} and 1') for name in ('pair', 'fold', 'any'))

FAULTS = [
    Fault('sample of a Triton program in 32 bits', HERE,
          'return (part // parts).to(tl.int64), part', 'return part // parts, part', TILES),
    Fault('offset of a channel in 32 bits, in Triton', HERE,
          'c.to(tl.int64)[:, None] * STRIDE_C', 'c[:, None] * STRIDE_C', TILES),
    Fault('offset of a position in 32 bits, in Triton', HERE,
          'p.to(tl.int64)[None, :] * STRIDE_P', 'p[None, :] * STRIDE_P', TILES),
    Fault('Triton on the device of another argument', HERE,
          'next(a for a in args if a is not None)', 'args[-1]', TILES),
    Fault('Triton compiles for every width', HERE,
          "(do_not_specialize=['W'])\ndef pair_sums_kernel", '\ndef pair_sums_kernel', COMPILED),
    Fault('Triton compiles for the number of layers', HERE,
          "(do_not_specialize=['layers', 'first'])\ndef sum_kernel", '\ndef sum_kernel', COMPILED),
    Fault('32 bits for the sums of Triton', HERE,
          'out + ((part * (10 + TAPS_O) + t) * C + c)', 'out + (part * (10 + TAPS_O) + t) * C + c',
          COMPILED),
    Fault('gradient of the pair in any layout', HERE,
          'grad = tiling.to_format(grad)', 'grad = grad.detach()', ANY),
    Fault('gradient of the means in any layout', HERE, 'else g.contiguous()', 'else g', ANY),
    Fault('kernels of the pair in any layout', HERE,
          'k.transpose(1, 2).contiguous()', 'k.transpose(1, 2)', ANY),
    Fault('weights of the sum in any layout', HERE, 'weights.contiguous()', 'weights', ANY),
    Fault('right neighbour beyond the border, in Triton', HERE, 'p % W < W - 1', 'p % W < W', PAIR),
    Fault('lower neighbour beyond the border, in Triton', HERE, 'p < P - W', 'p < P', PAIR),
    Fault('kernel not flipped for the gradient of a map, in Triton', HERE,
          'weights_x[8 - t]', 'weights_x[t]', PAIR),
    Fault('kernel not flipped for its gradient, in Triton', HERE,
          'neighbour(grad, 8 - t,', 'neighbour(grad, t,', PAIR),
    Fault('sums of the first part of a plane, in Triton', HERE, 'partial.sum(1)', 'partial[:, 0]', PAIR),
    Fault('gradient of a folded kernel without its factor, in Triton', HERE,
          'tl.sum(g * s, axis=0)', 'tl.sum(g, axis=0)', FOLD),
    Fault('refresh is not folded, in Triton', HERE,
          'kernel_o + (b * C + c), lam * refresh', 'kernel_o + (b * C + c), lam + 0 * s', FOLD),
]
