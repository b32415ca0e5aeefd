"""How the Triton kernels cut feature maps into tiles, and what they share.

A tile is BLOCK_C channels by BLOCK_P positions of one sample. A position is ``p = h * W + w``, so that
NCHW and NHWC differ in the two strides only. A program computes one tile, or those of SPAN positions
one after the other. Its sums over positions are stored, and added up afterwards: without atomics they
are deterministic. All maps of a call are converted to the memory format of the first. Offsets in maps
and sums are 64-bit. Sizes are arguments at run time: Triton compiles variants for tiles, for dtypes,
for arguments that are None and for planes (``P``) of a multiple of 16 positions, whose loads are wider.
"""
from typing import NamedTuple, Tuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..norm import accumulator

TILE, WARPS = 2048, 8  # elements, at most, and warps of a program with one tile
LOOP_TILE, LOOP_WARPS, TURNS = 512, 4, 32  # of one with several, and how many, at most


class Tiling(NamedTuple):
    """Memory format, dtype, programs, parts of a plane and size arguments for the maps of one call."""
    format: torch.memory_format
    dtype: torch.dtype
    programs: int
    parts: int
    warps: int
    sizes: dict

    def to_format(self, m: Tensor) -> Tensor:
        return m.contiguous(memory_format=self.format)

    def launch(self, kernel, *args, **flags):
        launch(kernel, self.programs, *args, **self.sizes, **flags, num_warps=self.warps)

    def partial_sums(self, batch: int, *shape: int, like: Tensor) -> Tensor:
        """Memory for the sums of each part, (batch, parts, *shape).

        On the device of ``like`` and, with one part, of its dtype, else of the accumulator's.
        """
        dtype = like.dtype if self.parts == 1 else accumulator(self.dtype)
        return torch.empty((batch, self.parts, *shape), dtype=dtype, device=like.device)


def one_tile(c: int, p: int, nhwc: bool) -> Tuple[int, int]:
    """BLOCK_C and BLOCK_P of a program's only tile, for up to c channels and p positions."""
    block_p = min(p, TILE // min(c, 32) if nhwc else TILE)
    return min(c, TILE // block_p), block_p


def one_of_many(c: int, p: int, nhwc: bool) -> Tuple[int, int]:
    """BLOCK_C and BLOCK_P where a program computes one tile after the other.

    It keeps up to 19 numbers for each channel or element in registers. With 4 elements for a thread
    these are 106 to 168 registers, and nothing is spilled; with 8 there would be no room. NCHW has 2,
    since the channels of a thread are more where a plane's size is odd. Small planes of NHWC have
    tiles of more channels, so that there are many of them still.
    """
    if nhwc:
        block_p = min(max(p // TURNS, 1), LOOP_TILE // min(c, 32))
        return min(c, LOOP_TILE // block_p), block_p
    block_p = min(p, 32, LOOP_TILE // 2)
    return min(c, LOOP_TILE // 2 // block_p), block_p


def tiling_of(m: Tensor, loop: bool = False) -> Tiling:
    """The tiling for maps like m (B, C, H, W), with one tile for a program or, in a loop, several."""
    batch, channels, height, width = m.shape
    positions = height * width
    nhwc = not m.is_contiguous() and m.is_contiguous(memory_format=torch.channels_last)
    turns, warps, blocks = (TURNS, LOOP_WARPS, one_of_many) if loop else (1, WARPS, one_tile)
    block_c, block_p = blocks(
        triton.next_power_of_2(channels), triton.next_power_of_2(positions), nhwc)
    span = turns * block_p
    parts = triton.cdiv(positions, span)
    return Tiling(
        torch.channels_last if nhwc else torch.contiguous_format,
        m.dtype,
        batch * parts * triton.cdiv(channels, block_c),
        parts,
        warps,
        dict(
            C=channels,
            P=positions,
            STRIDE_C=1 if nhwc else positions,
            STRIDE_P=channels if nhwc else 1,
            SPAN=span,
            BLOCK_C=block_c,
            BLOCK_P=block_p,
            ACC=tl.float64 if m.dtype == torch.float64 else tl.float32))


def launch(kernel, programs: int, *args, **flags):
    """Start programs on the device of their first argument that is not None."""
    with torch.cuda.device_of(next(a for a in args if a is not None)):
        kernel[programs, ](*args, **flags)


def total(partial: Tensor, dtype: torch.dtype) -> Tensor:
    """Add up the sums of the parts, (batch, parts, ...) to (batch, ...)."""
    return (partial[:, 0] if partial.shape[1] == 1 else partial.sum(1)).to(dtype)


@triton.jit
def place(C, P, SPAN: tl.constexpr, BLOCK_C: tl.constexpr):
    """What this program computes: a sample b; a part of its plane, as the number ``b * parts + part``
    and the first position; channels (BLOCK_C, )."""
    blocks, parts = tl.cdiv(C, BLOCK_C), tl.cdiv(P, SPAN)
    part = tl.program_id(0) // blocks
    c = tl.program_id(0) % blocks * BLOCK_C + tl.arange(0, BLOCK_C)
    return (part // parts).to(tl.int64), part.to(tl.int64), part % parts * SPAN, c


@triton.jit
def tile(b, c, first, C, P, STRIDE_C, STRIDE_P, BLOCK_P: tl.constexpr):
    """Positions (BLOCK_P, ) from the first on; offsets in a map and whether there are such elements,
    (BLOCK_C, BLOCK_P) each."""
    p = first + tl.arange(0, BLOCK_P)
    at = b * C * P + c.to(tl.int64)[:, None] * STRIDE_C + p.to(tl.int64)[None, :] * STRIDE_P
    return p, at, (c < C)[:, None] & (p < P)[None, :]


@triton.jit
def load(pointer, at, inside, ACC: tl.constexpr):
    """Elements in the accumulator's dtype, 0 where they do not exist."""
    return tl.load(pointer + at, mask=inside, other=0).to(ACC)
