"""How the Triton kernels cut feature maps into tiles, and what they share.

A program computes one tile of one sample: BLOCK_C channels by BLOCK_P positions. A position is
``p = h * W + w``, so that NCHW and NHWC differ in the two strides only. Sums over positions are
stored per tile and added up afterwards: without atomics they are deterministic. All maps of a call
are converted to the memory format of the first. Triton specialises a kernel on arguments that are
None.
"""
from typing import NamedTuple, Tuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..norm import accumulator

TILE = 2048  # elements, at most
WARPS = 8


class Tiling(NamedTuple):
    """Memory format, dtype, grid of programs and size arguments for the maps of one call."""
    format: torch.memory_format
    dtype: torch.dtype
    grid: Tuple[int, int]
    sizes: dict

    def to_format(self, m: Tensor) -> Tensor:
        return m.contiguous(memory_format=self.format)

    def launch(self, kernel, *args, **flags):
        device = next(a for a in args if a is not None)
        with torch.cuda.device_of(device):
            kernel[self.grid](*args, **self.sizes, **flags, num_warps=WARPS)

    def partial_sums(self, *shape: int, like: Tensor) -> Tensor:
        """Memory for the sums of each tile, (tiles, *shape).

        On the device of ``like`` and, with one tile, of its dtype, else of the accumulator's.
        """
        tiles = self.grid[1]
        dtype = like.dtype if tiles == 1 else accumulator(self.dtype)
        return torch.empty((tiles, *shape), dtype=dtype, device=like.device)


def tiling_of(m: Tensor) -> Tiling:
    """The tiling for maps like m (B, C, H, W)."""
    batch, channels, height, width = m.shape
    positions = height * width
    nhwc = not m.is_contiguous() and m.is_contiguous(memory_format=torch.channels_last)
    block_c, block_p = triton.next_power_of_2(channels), triton.next_power_of_2(positions)
    if nhwc:
        block_c = min(block_c, 32)
        block_p = min(block_p, TILE // block_c)
    else:
        block_p = min(block_p, TILE)
        block_c = min(block_c, TILE // block_p)
    return Tiling(
        torch.channels_last if nhwc else torch.contiguous_format,
        m.dtype,
        (batch * triton.cdiv(channels, block_c), triton.cdiv(positions, block_p)),
        dict(
            C=channels,
            P=positions,
            STRIDE_C=1 if nhwc else positions,
            STRIDE_P=channels if nhwc else 1,
            BLOCK_C=block_c,
            BLOCK_P=block_p,
            ACC=tl.float64 if m.dtype == torch.float64 else tl.float32))


def total(partial: Tensor, dtype: torch.dtype) -> Tensor:
    """Add up the sums of the tiles, (tiles, ...) to (...)."""
    return (partial[0] if len(partial) == 1 else partial.sum(0)).to(dtype)


@triton.jit
def tile(C, P, STRIDE_C, STRIDE_P, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr):
    """This program's sample, channels (BLOCK_C, ) and positions (BLOCK_P, ); of its elements the
    offsets in a map and whether they exist, (BLOCK_C, BLOCK_P) each."""
    blocks = tl.cdiv(C, BLOCK_C)
    b = (tl.program_id(0) // blocks).to(tl.int64)
    c = tl.program_id(0) % blocks * BLOCK_C + tl.arange(0, BLOCK_C)
    p = tl.program_id(1) * BLOCK_P + tl.arange(0, BLOCK_P)
    at = b * C * P + c.to(tl.int64)[:, None] * STRIDE_C + p.to(tl.int64)[None, :] * STRIDE_P
    return b, c, p, at, (c < C)[:, None] & (p < P)[None, :]


@triton.jit
def load(pointer, at, inside, ACC: tl.constexpr):
    """Elements in the accumulator's dtype, 0 where they do not exist."""
    return tl.load(pointer + at, mask=inside, other=0).to(ACC)


@triton.jit
def first_row(rows):
    """First row of this tile's partial sums, of which each tile has so many."""
    return tl.program_id(1).to(tl.int64) * rows


@triton.jit
def weight(kernels, t, b, c, C, TAPS: tl.constexpr, ACC: tl.constexpr):
    """Tap t of the sample's kernels (batch, TAPS, channels), (BLOCK_C, 1)."""
    return load(kernels, (b * TAPS + t) * C + c, c < C, ACC)[:, None]


@triton.jit
def tap(t, p, H, W):
    """Offset in positions of the t-th of 3 x 3 neighbours, and which positions p have one."""
    y = p // W + (t // 3 - 1)
    x = p % W + (t % 3 - 1)
    return (t // 3 - 1) * W + (t % 3 - 1), ((y >= 0) & (y < H) & (x >= 0) & (x < W))[None, :]
