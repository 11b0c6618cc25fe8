"""3 x 3 convolutions with fewer products, by Winograd's minimal filtering F(m x m, 3 x 3).

A tile of m + 2 x m + 2 inputs and the filter are each brought into a space in which the convolution
is as many independent products, which are one grouped 1 x 1 convolution, and the result is brought
back to m x m outputs (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2015,
section 4). An output takes 4 products instead of 9 with m = 2, 2.25 with m = 4. With many channels
the products saved are worth the passes over memory.

The spaces are polynomials at some points (Toom and Cook). The error grows with m: in float32 it is
0.5 to 0.7 times that of oneDNN's plain sum for m = 2 and 1.4 to 2 times for m = 4, whose points are
chosen for it (0, 1, -1, 2, -2 have twice that error); in bfloat16 it is 2.1 to 2.5 times for m = 2
and 5.8 times for m = 4, which is too coarse. `tools/bench.py layers` measures it.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darknet_torch.layers.base import Shape
from darknet_torch.layers.blocks import ConvBlock
from darknet_torch.speed.onednn import Product, finished

__all__ = ["FOUR", "TWO", "Filtering", "WinogradConv", "filtering"]

TAPS = 3
"""Of a filter, each way."""
FEW_TILES = 24
"""Where there are fewer, time goes into reading the weights, of which larger tiles have more."""
LEAST_CHANNELS = {
    (torch.float32, False): 40,
    (torch.float32, True): 32,
    (torch.bfloat16, False): 120,
    (torch.bfloat16, True): 120,
}
"""(computed in, compiled) -> inputs x filters / (inputs + filters) from which on it is faster,
measured on two cores; a compiler fuses the passes over memory."""
LARGEST_SHARE = 0.6
"""Of the plain convolution's products; more are left at the edges of small maps of odd sides."""
Matrix = tuple[tuple[float, ...], ...]
"""Numbers that a compiler takes as they are."""


class Filtering(NamedTuple):
    """F(m x m, 3 x 3) with n x n points, n = m + 2: three matrices, for rows as for columns.

    tiles (n, n): inputs -> points; filters (n, 3): taps -> points; outputs (m, n): points to
    outputs.
    """

    tiles: Matrix
    filters: Matrix
    outputs: Matrix

    @property
    def step(self) -> int:
        """How far tiles are apart: m."""
        return len(self.outputs)

    @property
    def side(self) -> int:
        """Inputs of a tile each way, and points: n."""
        return len(self.tiles)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tiles that cover a map."""
        return -(-height // self.step), -(-width // self.step)


def _at(*points: float) -> Filtering:
    """Return the filtering at 0, at some points and their negatives, and at infinity."""
    finite = np.array([0.0, *(sign * point for point in points for sign in (1, -1))])
    others = [np.delete(finite, i) for i in range(len(finite))]
    side, step = len(finite) + 1, len(finite) + 1 - TAPS + 1
    tiles = np.zeros((side, side))  # coefficients of the polynomials with all the other points
    for row, roots in zip(tiles, (*others, finite), strict=True):
        row[: len(roots) + 1] = np.poly(roots)[::-1]
    scale = np.array([np.prod(finite[i] - roots) for i, roots in enumerate(others)])
    filters, outputs = np.zeros((side, TAPS)), np.zeros((step, side))
    filters[:-1] = np.vander(finite, TAPS, increasing=True) / scale[:, None]
    outputs[:, :-1] = np.vander(finite, step, increasing=True).T
    filters[-1, -1] = outputs[-1, -1] = 1  # infinity
    return Filtering(*(tuple(map(tuple, each.tolist())) for each in (tiles, filters, outputs)))


TWO, FOUR = _at(1), _at(2 / 3, 3 / 2)


def filtering(
    block: ConvBlock, shape: Shape, dtype: torch.dtype, *, compiled: bool
) -> Filtering | None:
    """Return what makes a convolution of an input (c, h, w) faster; None if nothing does."""
    conv, (_, height, width) = block.conv, shape
    plain = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
    if plain != ((3, 3), (1, 1), (1, 1), (1, 1), 1) or (dtype, compiled) not in LEAST_CHANNELS:
        return None
    channels = conv.in_channels * conv.out_channels / (conv.in_channels + conv.out_channels)
    if channels < LEAST_CHANNELS[dtype, compiled]:
        return None
    coarse = dtype == torch.bfloat16
    found = TWO if coarse or math.prod(FOUR.grid(height, width)) < FEW_TILES else FOUR
    products = found.side**2 * math.prod(found.grid(height, width))
    return found if products <= LARGEST_SHARE * TAPS**2 * height * width else None


class WinogradConv(nn.Module):
    """A ConvBlock that has a `filtering`: (B, c, h, w) -> (B, filters, h, w).

    shape: (c, h, w) that the weights are packed for at once, see `Product`.
    """

    def __init__(self, block: ConvBlock, how: Filtering, shape: Shape, dtype: torch.dtype) -> None:
        super().__init__()
        conv, points = block.conv, how.side**2
        self.how, self.dtype, self.points = how, dtype, points
        self.channels, self.filters = conv.in_channels, conv.out_channels
        self.activation, self.blur = block.activation, getattr(block, "blur", None)
        turn = torch.tensor(how.filters, dtype=torch.float64)
        weight = torch.einsum("ai,oxij,bj->abox", turn, conv.weight.detach().double(), turn)
        weight = weight.to(dtype).reshape(points * self.filters, self.channels, 1, 1)
        shape_of_all = (1, points * self.channels, math.prod(how.grid(shape.h, shape.w)), 1)
        self.product = Product(weight, None, shape_of_all, groups=points)
        self.bias = torch.zeros(self.filters) if conv.bias is None else conv.bias.detach()
        self.into, self.out_of = (
            torch.kron(each, each).to(dtype)
            for each in (torch.tensor(how.tiles), torch.tensor(how.outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Bring tiles into the space of products, multiply, bring them back, activate."""
        batch, _, height, width = x.shape
        (rows, columns), step = self.how.grid(height, width), self.how.step
        right, below = step * columns - width + 1, step * rows - height + 1
        padded = F.pad(x.to(self.dtype), (1, right, 1, below))
        if torch.compiler.is_compiling():  # what is written element by element is fused
            into, out_of = self._sums_into, self._sums_out_of
        else:
            into, out_of = self._into, self._out_of
        tiles = into(padded, rows, columns).reshape(1, -1, 1, self.points * self.channels)
        products = self.product(tiles.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        side = self.how.side
        y = out_of(products.reshape(batch, rows, columns, side, side, self.filters))
        y = finished(self.activation, y)
        y = y.view(batch, step * rows, step * columns, self.filters)[:, :height, :width]
        y = y.permute(0, 3, 1, 2)
        return y if self.blur is None else cast(Tensor, self.blur(y))

    def _into(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """Tiles -> points: padded (B, c, H, W) -> (B, rows, columns, n, n, c)."""
        side, step = self.how.side, self.how.step
        tiles = x.unfold(2, side, step).unfold(3, side, step).permute(0, 2, 3, 4, 5, 1)
        return torch.matmul(self.into, tiles.reshape(-1, self.points, self.channels))

    def _out_of(self, products: Tensor) -> Tensor:
        """Points -> outputs: (B, rows, columns, n, n, f) -> (B, rows, m, columns, m, f)."""
        (batch, rows, columns), step = products.shape[:3], self.how.step
        y = torch.matmul(self.out_of, products.view(-1, self.points, self.filters))
        y = y.view(batch, rows, columns, step, step, self.filters).transpose(2, 3)
        return torch.add(y, self.bias, out=y.new_empty(y.shape))

    def _sums_into(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """As `_into`, written element by element."""
        side, step = self.how.side, self.how.step
        high, wide = (step * (count - 1) + 1 for count in (rows, columns))
        half = _sums(self.how.tiles, [x[:, :, i : i + high : step] for i in range(side)])
        lines = torch.stack([each.permute(0, 2, 3, 1) for each in half], dim=3)
        half = [lines[:, :, j : j + wide : step] for j in range(side)]
        return torch.stack(_sums(self.how.tiles, half), dim=4)

    def _sums_out_of(self, products: Tensor) -> Tensor:
        """As `_out_of`, written element by element."""
        half = torch.stack(_sums(self.how.outputs, products.unbind(3)), dim=2)
        y = torch.stack(_sums(self.how.outputs, half.unbind(4)), dim=4)
        return (y + self.bias).to(self.dtype)


def _sums(matrix: Matrix, lines: Sequence[Tensor]) -> list[Tensor]:
    """Return for each row of a matrix the sum of the tensors, times its numbers."""
    rows = []
    for row in matrix:
        terms = [line if k == 1 else line * k for k, line in zip(row, lines, strict=True) if k]
        rows.append(sum(terms[1:], terms[0]))
    return rows
