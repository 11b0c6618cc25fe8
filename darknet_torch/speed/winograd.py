"""3 x 3 convolutions with fewer multiplications: Winograd's minimal filtering F(m x m, 3 x 3).

A tile of m + 2 x m + 2 inputs and the filter are transformed to a space in which the convolution is
an elementwise product, summed over the channels: one grouped 1 x 1 convolution. The result is
transformed back to m x m outputs (Lavin and Gray, Fast Algorithms for Convolutional Neural
Networks, 2015, section 4). An output takes 4 multiplications instead of 9 with m = 2, 2.25 with
m = 4. With many channels that is worth the additional passes over memory.

The transforms evaluate polynomials at some points (Toom and Cook). The error grows with m: in
float32 it is 0.5 to 0.7 times that of oneDNN's direct convolution for m = 2 and 1.4 to 2 times for
m = 4, whose points are chosen for it (0, 1, -1, 2, -2 have twice that error); in bfloat16 it is 2.1
to 2.5 times for m = 2 and 5.8 times for m = 4, which is too much. `tools/bench.py layers` measures
it.
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
from darknet_torch.speed.onednn import PackedConv, activate_output

__all__ = ["F2", "F4", "Transforms", "WinogradConv", "best_transforms"]

TAPS = 3
"""Height and width of a filter."""
FEW_TILES = 24
"""With fewer, most time goes into reading the weights, of which larger tiles have more."""
LEAST_CHANNELS = {
    (torch.float32, False): 40,
    (torch.float32, True): 32,
    (torch.bfloat16, False): 120,
    (torch.bfloat16, True): 120,
}
"""(type, compiled) -> the least c * filters / (c + filters) with which it is faster, measured on
two cores; a compiler fuses the passes over memory."""
LARGEST_SHARE = 0.6
"""Of the direct convolution's multiplications; small maps of odd sides need more, at the edges."""
Matrix = tuple[tuple[float, ...], ...]
"""As Python numbers, which a compiler takes as constants."""


class Transforms(NamedTuple):
    """The matrices of F(m x m, 3 x 3), each for rows and for columns; n = m + 2.

    Attributes:
        inputs: (n, n), B^T in Lavin and Gray.
        filters: (n, 3), G.
        outputs: (m, n), A^T.
    """

    inputs: Matrix
    filters: Matrix
    outputs: Matrix

    @property
    def step(self) -> int:
        """Rows and columns of outputs of a tile, m: the distance of tiles."""
        return len(self.outputs)

    @property
    def side(self) -> int:
        """Rows and columns of inputs of a tile, n."""
        return len(self.inputs)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns of tiles that cover a map."""
        return -(-height // self.step), -(-width // self.step)


def _transforms_at(*points: float) -> Transforms:
    """Return the transforms with the points 0, `points` and their negatives, and infinity."""
    finite = np.array([0.0, *(sign * point for point in points for sign in (1, -1))])
    others = [np.delete(finite, i) for i in range(len(finite))]
    side, step = len(finite) + 1, len(finite) + 1 - TAPS + 1
    inputs = np.zeros((side, side))  # coefficients of polynomials with the other points as roots
    for row, roots in zip(inputs, (*others, finite), strict=True):
        row[: len(roots) + 1] = np.poly(roots)[::-1]
    scale = np.array([np.prod(finite[i] - roots) for i, roots in enumerate(others)])
    filters, outputs = np.zeros((side, TAPS)), np.zeros((step, side))
    filters[:-1] = np.vander(finite, TAPS, increasing=True) / scale[:, None]
    outputs[:, :-1] = np.vander(finite, step, increasing=True).T
    filters[-1, -1] = outputs[-1, -1] = 1  # infinity
    return Transforms(*(tuple(map(tuple, each.tolist())) for each in (inputs, filters, outputs)))


F2, F4 = _transforms_at(1), _transforms_at(2 / 3, 3 / 2)


def best_transforms(
    block: ConvBlock, shape: Shape, dtype: torch.dtype, *, compiled: bool
) -> Transforms | None:
    """Return the transforms with which a convolution is faster; None if a direct one is.

    Args:
        block: has the convolution.
        shape: (c, h, w) of its input.
        dtype: what it is computed in.
        compiled: whether a compiler will fuse the passes over memory.
    """
    conv, (_, height, width) = block.conv, shape
    options = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
    if options != ((3, 3), (1, 1), (1, 1), (1, 1), 1) or (dtype, compiled) not in LEAST_CHANNELS:
        return None
    channels = conv.in_channels * conv.out_channels / (conv.in_channels + conv.out_channels)
    if channels < LEAST_CHANNELS[dtype, compiled]:
        return None
    few = math.prod(F4.grid(height, width)) < FEW_TILES
    transforms = F2 if few or dtype == torch.bfloat16 else F4
    multiplications = transforms.side**2 * math.prod(transforms.grid(height, width))
    return transforms if multiplications <= LARGEST_SHARE * TAPS**2 * height * width else None


class WinogradConv(nn.Module):
    """A ConvBlock without batch norm, computed with `best_transforms` of it.

    (B, c, h, w) -> (B, filters, h, w).

    Args:
        block: the block.
        transforms: F2 or F4.
        shape: (c, h, w) of the input that the weights are packed for now, see `PackedConv`.
        dtype: what the elementwise products are computed in.
    """

    def __init__(
        self, block: ConvBlock, transforms: Transforms, shape: Shape, dtype: torch.dtype
    ) -> None:
        super().__init__()
        conv, points = block.conv, transforms.side**2
        self.transforms, self.dtype, self.points = transforms, dtype, points
        self.channels, self.filters = conv.in_channels, conv.out_channels
        self.activation, self.blur = block.activation, getattr(block, "blur", None)
        matrix = torch.tensor(transforms.filters, dtype=torch.float64)
        weight = torch.einsum("ai,oxij,bj->abox", matrix, conv.weight.detach().double(), matrix)
        weight = weight.to(dtype).reshape(points * self.filters, self.channels, 1, 1)
        tiles = math.prod(transforms.grid(shape.h, shape.w))
        self.conv = PackedConv(weight, None, (1, points * self.channels, tiles, 1), groups=points)
        self.bias = torch.zeros(self.filters) if conv.bias is None else conv.bias.detach()
        self.input_matrix, self.output_matrix = (
            torch.kron(each, each).to(dtype)
            for each in (torch.tensor(transforms.inputs), torch.tensor(transforms.outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, activate, blur; a batch may be empty."""
        y = self._convolved(x) if len(x) else x.new_zeros(0, self.filters, *x.shape[2:])
        return y if self.blur is None else cast(Tensor, self.blur(y))

    def _convolved(self, x: Tensor) -> Tensor:
        """Transform the tiles, multiply, transform back, activate."""
        batch, _, height, width = x.shape
        (rows, columns), step = self.transforms.grid(height, width), self.transforms.step
        right, below = step * columns - width + 1, step * rows - height + 1
        padded = F.pad(x.to(self.dtype), (1, right, 1, below))
        if torch.compiler.is_compiling():  # elementwise operations are fused
            transform, transform_back = self._unrolled, self._unrolled_back
        else:
            transform, transform_back = self._transform, self._transform_back
        tiles = transform(padded, rows, columns).reshape(1, -1, 1, self.points * self.channels)
        products = self.conv(tiles.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        side = self.transforms.side
        y = transform_back(products.reshape(batch, rows, columns, side, side, self.filters))
        y = activate_output(self.activation, y)
        y = y.view(batch, step * rows, step * columns, self.filters)[:, :height, :width]
        return y.permute(0, 3, 1, 2)

    def _transform(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """Transform the tiles of a padded (B, c, H, W) -> (B, rows, columns, n, n, c)."""
        side, step = self.transforms.side, self.transforms.step
        tiles = x.unfold(2, side, step).unfold(3, side, step).permute(0, 2, 3, 4, 5, 1)
        return torch.matmul(self.input_matrix, tiles.reshape(-1, self.points, self.channels))

    def _transform_back(self, products: Tensor) -> Tensor:
        """(B, rows, columns, n, n, f) -> outputs (B, rows, m, columns, m, f)."""
        (batch, rows, columns), step = products.shape[:3], self.transforms.step
        y = torch.matmul(self.output_matrix, products.view(-1, self.points, self.filters))
        y = y.view(batch, rows, columns, step, step, self.filters).transpose(2, 3)
        return torch.add(y, self.bias, out=y.new_empty(y.shape))

    def _unrolled(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """As `_transform`, in elementwise operations."""
        side, step, matrix = self.transforms.side, self.transforms.step, self.transforms.inputs
        high, wide = (step * (count - 1) + 1 for count in (rows, columns))
        half = _combine(matrix, [x[:, :, i : i + high : step] for i in range(side)])
        lines = torch.stack([each.permute(0, 2, 3, 1) for each in half], dim=3)
        half = [lines[:, :, j : j + wide : step] for j in range(side)]
        return torch.stack(_combine(matrix, half), dim=4)

    def _unrolled_back(self, products: Tensor) -> Tensor:
        """As `_transform_back`, in elementwise operations."""
        matrix = self.transforms.outputs
        half = torch.stack(_combine(matrix, products.unbind(3)), dim=2)
        y = torch.stack(_combine(matrix, half.unbind(4)), dim=4)
        return (y + self.bias).to(self.dtype)


def _combine(matrix: Matrix, lines: Sequence[Tensor]) -> list[Tensor]:
    """Return for each row of a matrix the linear combination of the tensors."""
    rows = []
    for row in matrix:
        terms = [line if k == 1 else line * k for k, line in zip(row, lines, strict=True) if k]
        rows.append(sum(terms[1:], terms[0]))
    return rows
