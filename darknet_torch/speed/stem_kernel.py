"""The kernel of `Stem`, in Triton; imported where Triton is installed."""

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["activated", "launch"]

BLOCK = 128
"""Pixels of the output that a program computes."""


def launch(
    x: Tensor, weight: Tensor, bias: Tensor, y: Tensor, stride: int, pool: int, activation: str
) -> None:
    """Write the output of a `Stem`.

    Args:
        x: (B, 3, H, W), channels last in memory.
        weight: (27, filters): rows, columns, channels.
        bias: (filters,) float32.
        y: (B, filters, H', W'), channels last in memory.
        stride: of the convolution.
        pool: side of the windows of the pooling.
        activation: its name.
    """
    batch, filters, height, width = y.shape
    count = batch * height * width
    inner = [(side - 1) // stride + 1 for side in x.shape[2:]]
    with torch.cuda.device_of(x):
        _compute[(triton.cdiv(count, BLOCK),)](
            x, weight, bias, y, count, height, width, *inner, x.shape[2], x.shape[3],
            filters=filters, stride=stride, pool=pool, activation=activation, block=BLOCK,
        )  # fmt: skip


@triton.jit
def activated(v, activation: tl.constexpr):
    """Return the activation of any block of values."""
    if activation == "leaky":
        v = tl.where(v > 0, v, 0.1 * v)
    elif activation == "relu":
        v = tl.maximum(v, 0.0)
    elif activation == "logistic":
        v = 1 / (1 + tl.exp(-v))
    elif activation == "swish":
        v = v / (1 + tl.exp(-v))
    elif activation == "mish":
        e = tl.exp(tl.minimum(v, 20.0))
        e = e * (e + 2)
        v = v * (e / (e + 2))
    return v


@triton.jit
def _compute(
    x, weight, bias, y, count, height, width, conv_height, conv_width, in_height, in_width,
    filters: tl.constexpr, stride: tl.constexpr, pool: tl.constexpr, activation: tl.constexpr,
    block: tl.constexpr,
):  # fmt: skip
    pixel = tl.program_id(0) * block + tl.arange(0, block)
    row = pixel // width % height
    column = pixel % width
    first = (pixel // width // height).to(tl.int64) * in_height * in_width * 3
    tap = tl.arange(0, 32)  # 27 of them, padded
    channel, across, down = tap % 3, tap // 3 % 3, tap // 9
    output = tl.arange(0, filters)
    weights = tl.load(
        weight + tap[:, None] * filters + output[None, :], mask=(tap < 27)[:, None], other=0.0
    )
    biases = tl.load(bias + output)[None, :]
    best = tl.full((block, filters), float("-inf"), tl.float32)
    for part in tl.static_range(pool * pool):
        y_conv, x_conv = row * pool + part // pool, column * pool + part % pool
        rows = (y_conv * stride - 1)[:, None] + down[None, :]
        columns = (x_conv * stride - 1)[:, None] + across[None, :]
        inside = (rows >= 0) & (rows < in_height) & (columns >= 0) & (columns < in_width)
        inside = inside & (tap < 27)[None, :] & (pixel < count)[:, None]
        place = first[:, None] + (rows * in_width + columns) * 3 + channel[None, :]
        values = tl.load(x + place, mask=inside, other=0.0)
        sums = tl.dot(values, weights, out_dtype=tl.float32) + biases
        counts = (y_conv < conv_height) & (x_conv < conv_width)
        best = tl.where(counts[:, None], tl.maximum(best, activated(sums, activation)), best)
    place = pixel[:, None].to(tl.int64) * filters + output[None, :]
    tl.store(y + place, best.to(y.dtype.element_ty), mask=(pixel < count)[:, None])
