"""The kernels of `split_conv`, in Triton; imported where Triton is installed."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from darknet_torch.speed.stem_kernel import activated

__all__ = ["launch"]

BLOCK = 512
"""Values of the output that a program adds up."""
SIZES = ["count", "height", "width", "size", "blocks"]
"""One program for all of them."""


def launch(
    x: Tensor, weight: Tensor, bias: Tensor, y: Tensor, tiles: Sequence[int], activation: str
) -> None:
    """Write the output of a convolution with a stride of 1, and as many pixels as its input.

    Args:
        x: (B, c, H, W), channels last in memory.
        weight: (filters, size * size * c): rows, columns, channels.
        bias: (filters,).
        y: (B, filters, H, W), channels last in memory.
        tiles: the fields of a `CardTiles`, and the number of parts of a sum.
        activation: its name.
    """
    batch, channels, height, width = x.shape
    m, n, k, warps, stages, parts = tiles
    count, filters = batch * height * width, len(weight)
    size = round((weight.shape[1] // channels) ** 0.5)
    blocks = triton.cdiv(triton.cdiv(weight.shape[1], k), parts)  # of products, of a part
    sums = torch.empty(parts, count, filters, dtype=torch.float32, device=x.device)
    grid = (triton.cdiv(count, m), triton.cdiv(filters, n), parts)
    with torch.cuda.device_of(x):
        _multiply[grid](
            x, weight, sums, count, height, width, channels, filters, size, blocks,
            m=m, n=n, k=k, num_warps=warps, num_stages=stages,
        )  # fmt: skip
        _add[(triton.cdiv(count * filters, BLOCK),)](
            sums, bias, y, count * filters, filters,
            parts=parts, activation=activation, block=BLOCK,
        )  # fmt: skip


@triton.jit(do_not_specialize=SIZES)
def _multiply(
    x, weight, sums, count, height, width, channels, filters, size, blocks,
    m: tl.constexpr, n: tl.constexpr, k: tl.constexpr,
):  # fmt: skip
    """Sum m pixels x n filters of a part of the products: `blocks` times k channels of a tap."""
    pixel = tl.program_id(0) * m + tl.arange(0, m)
    output = tl.program_id(1) * n + tl.arange(0, n)
    part = tl.program_id(2)
    channel = tl.arange(0, k)
    row, column = pixel // width % height, pixel % width
    in_tap = channels // k
    every = size * size * in_tap
    sum_ = tl.zeros((m, n), tl.float32)
    for block in range(part * blocks, tl.minimum((part + 1) * blocks, every)):
        tap = block // in_tap
        down, across = tap // size - size // 2, tap % size - size // 2
        inside = (row + down >= 0) & (row + down < height)
        inside = inside & (column + across >= 0) & (column + across < width) & (pixel < count)
        place = (pixel + down * width + across) * channels + (block - tap * in_tap) * k
        values = tl.load(x + place[:, None] + channel[None, :], mask=inside[:, None], other=0.0)
        place = output * (every * k) + block * k
        weights = tl.load(
            weight + place[None, :] + channel[:, None], mask=(output < filters)[None, :], other=0.0
        )
        sum_ += tl.dot(values, weights, out_dtype=tl.float32)
    place = (part * count + pixel)[:, None] * filters + output[None, :]
    tl.store(sums + place, sum_, mask=(pixel < count)[:, None] & (output < filters)[None, :])


@triton.jit
def _add(
    sums, bias, y, count, filters,
    parts: tl.constexpr, activation: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Add the parts, always in one order, and the bias; activate."""
    place = tl.program_id(0) * block + tl.arange(0, block)
    inside = place < count
    sum_ = tl.load(bias + place % filters).to(tl.float32)
    for part in tl.static_range(parts):
        sum_ += tl.load(sums + part * count + place, mask=inside, other=0.0)
    tl.store(y + place, activated(sum_, activation).to(y.dtype.element_ty), mask=inside)
