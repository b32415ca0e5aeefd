"""A Triton kernel that writes down where its programs compute."""
import triton
import triton.language as tl

from mmdla.ops.triton_kernels.tiling import place, tile


@triton.jit
def probe(offsets, parts, C, P, STRIDE_C, STRIDE_P,
          SPAN: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr):
    """Offsets of first tiles, (programs, BLOCK_C, BLOCK_P); parts times 2^30, (programs, )."""
    b, part, first, c = place(C, P, SPAN, BLOCK_C)
    p, at, inside = tile(b, c, first, C, P, STRIDE_C, STRIDE_P, BLOCK_P)
    n = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    tl.store(offsets + n[:, None] * BLOCK_P + tl.arange(0, BLOCK_P)[None, :], at)
    tl.store(parts + tl.program_id(0), part * 1073741824)
