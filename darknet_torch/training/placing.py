"""Crop, resize, paste and mirror the images of a batch together on a device, in few steps.

What `Geometry.apply` does to one image on the CPU is done here to many at once: each pixel of the
network's input is mixed of four pixels of its own image. The values differ by one level at most.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_torch.images.bilinear import last_row
from darknet_torch.training.augment import GREY_LEVEL, Geometry, span

__all__ = ["PlacingFacts", "place_batch"]

TOGETHER = 1 << 23
"""Pixels of the result that are computed at a time, in some 400 MB."""
ANY = math.inf


class Axis(NamedTuple):
    """How the rows, or the columns, of an image become those of the network's input.

    Attributes:
        start: first of the target, in pixels of the input.
        length: of the target.
        scale: pixels of the window for one of the target.
        before: pixels of the window that lie before the image.
        visible: pixels of the window that lie on the image.
        lowest: first pixel of the window that has a value; others have the colour beyond.
        end: behind the last one.
    """

    start: float
    length: float
    scale: float
    before: float
    visible: float
    lowest: float
    end: float

    @classmethod
    def of(cls, geometry: Geometry, axis: int, size: int) -> Self:
        """Return those of an axis, 0 for columns and 1 for rows, of an image of `size` pixels."""
        window = geometry.window[axis + 2]
        start, length = int(geometry.target[axis]), max(int(geometry.target[axis + 2]), 1)
        inside, before, _ = span(geometry.window[axis], window, size)
        visible = inside.stop - inside.start
        if not geometry.aligned:
            return cls(start, length, window / length, before, visible, -ANY, window)
        known = (before, before + visible) if geometry.mean else (-ANY, ANY)
        return cls(start, length, (window - 1) / max(length - 1, 1), before, visible, *known)


AXIS, VISIBLE = len(Axis._fields), Axis._fields.index("visible")


class PlacingFacts(NamedTuple):
    """What `place_batch` needs to know of each image, and what no image needs.

    Attributes:
        table: (B, K) float64: where the pixels of an image start, whether it is mirrored, the
            factor of its last row, its columns and rows (`Axis`), the colour beyond the window.
        beyond: whether any image has such a colour, other than black.
        margin: whether any image leaves a margin.
        darker: whether any image has a darker last row.
    """

    table: Tensor
    beyond: bool
    margin: bool
    darker: bool

    @classmethod
    def of(
        cls,
        geometries: Sequence[Geometry],
        shapes: Sequence[tuple[int, ...]],
        starts: Sequence[int],
        colours: Sequence[Sequence[float]],
        size: tuple[int, int],
    ) -> Self:
        """Return those of images.

        Args:
            geometries: of each image.
            shapes: (C, H, W) of each whole image.
            starts: number of the first pixel of each, among the pixels of all.
            colours: beyond the window of each.
            size: (height, width) of the input.
        """
        columns = [Axis.of(g, 0, shape[2]) for g, shape in zip(geometries, shapes, strict=True)]
        rows = [Axis.of(g, 1, shape[1]) for g, shape in zip(geometries, shapes, strict=True)]
        factors = [
            last_row(g.window[3], int(axis.length))[1] if g.aligned else 1.0
            for g, axis in zip(geometries, rows, strict=True)
        ]
        flips = [float(g.flip) for g in geometries]
        each = zip(starts, flips, factors, columns, rows, colours, strict=True)
        table = [(start, flip, factor, *x, *y, *c) for start, flip, factor, x, y, c in each]
        return cls(
            torch.tensor(table, dtype=torch.float64),
            any(map(any, colours)),
            any(_leaves_margin(x, size[1]) for x in columns)
            or any(_leaves_margin(y, size[0]) for y in rows),
            any(factor < 1 for factor in factors),
        )


def _leaves_margin(axis: Axis, size: int) -> bool:
    return axis.start > 0 or axis.start + axis.length < size


def place_batch(pixels: Tensor, facts: PlacingFacts, size: tuple[int, int]) -> Tensor:
    """Return the network's input (B, C, height, width) uint8, on the device of the pixels.

    Args:
        pixels: (P, C) uint8, the parts of all images that lie inside of their windows.
        facts: of the images, on the device of the pixels.
        size: (height, width) of the input.
    """
    count, channels = len(facts.table), pixels.shape[1]
    out = pixels.new_empty(count, channels, *size)
    # four bytes are one number, which is picked as fast as one byte
    words = F.pad(pixels, (0, 1)).view(torch.int32) if channels == 3 else pixels
    together = max(1, TOGETHER // (size[0] * size[1]))
    grids = zip(*(each.split(together) for each in _grid(len(words), facts, size)), strict=True)
    for grid, part in zip(grids, out.split(together), strict=True):
        mixed = _placed(words, _Grid(*grid), facts)
        part.copy_(mixed.permute(0, 3, 1, 2)[:, :channels])
    return out


class _Grid(NamedTuple):
    """Which pixels make each row and each column of the input, of B images.

    Attributes:
        first: (B, H, 2) integers, the first pixel of both rows.
        down: (B, H, 2) float32, the weights of both.
        is_row: (B, H) bool, whether the target covers it.
        across: (B, W, 2) integers, both columns.
        right: (B, W, 2) float32, the weights of both.
        is_column: (B, W) bool.
        factor: (B, H) float32, of the brightness.
        colour: (B, C) float32, beyond the window.
    """

    first: Tensor
    down: Tensor
    is_row: Tensor
    across: Tensor
    right: Tensor
    is_column: Tensor
    factor: Tensor
    colour: Tensor


def _grid(pixels: int, facts: PlacingFacts, size: tuple[int, int]) -> _Grid:
    start, flip, factor = facts.table[:, :3].T[..., None]
    columns, rows, colour = facts.table[:, 3:].tensor_split((AXIS, 2 * AXIS), 1)
    across, right, is_column = _taps(columns, size[1], flip)
    down, weight, is_row = _taps(rows, size[0])
    first = start[..., None] + down * columns[:, VISIBLE, None, None]
    row = torch.arange(size[0], device=facts.table.device)
    is_last = row == rows[:, :1] + rows[:, 1:2] - 1
    factors = torch.where(is_last, factor, 1.0).float()
    kind = torch.int32 if pixels < 2**31 else torch.int64
    return _Grid(
        first.to(kind), weight, is_row, across.to(kind), right, is_column, factors, colour.float()
    )


def _placed(words: Tensor, grid: _Grid, facts: PlacingFacts) -> Tensor:
    """Return (B, height, width, C or more) float32, of which the whole part is the level."""
    mixed = _mixed(words, grid)
    if facts.beyond:
        beyond = 1 - grid.down.sum(2)[:, :, None] * grid.right.sum(2)[:, None]
        colour = F.pad(grid.colour, (0, mixed.shape[3] - grid.colour.shape[1]))
        mixed.addcmul_(beyond[..., None], colour[:, None, None])
    mixed.add_(0.5)  # to the nearest level
    if facts.darker:
        mixed.floor_().mul_(grid.factor[:, :, None, None])
    if facts.margin:
        inside = grid.is_row[:, :, None] & grid.is_column[:, None]
        mixed = torch.where(inside[..., None], mixed, float(GREY_LEVEL))
    return mixed


def _taps(axis: Tensor, size: int, flip: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Return which two pixels make each row, or each column, of the input of all images.

    Args:
        axis: (B, AXIS), an `Axis` each.
        size: of the input.
        flip: (B, 1), 1 where the input is mirrored along the axis.

    Returns:
        Positions (B, size, 2) float64 in the part inside of the window; weights (B, size, 2)
        float32, zero outside of the target and for pixels without a value; and what the target
        covers, (B, size) bool.
    """
    start, length, scale, before, visible, lowest, end = axis.T[..., None]
    place = torch.arange(size, dtype=axis.dtype, device=axis.device)
    if flip is not None:
        place = torch.where(flip > 0, size - 1 - place, place)
    place = place - start
    covered = (place >= 0) & (place < length)
    position = place * scale
    lower = position.floor()
    share = position - lower
    both = torch.stack((lower, lower + 1), 2)
    known = (both >= lowest[..., None]) & (both < end[..., None]) & covered[..., None]
    weight = torch.stack((1 - share, share), 2) * known
    inside = (both - before[..., None]).clamp(min=0)
    return inside.minimum(visible[..., None] - 1), weight.float(), covered


def _mixed(words: Tensor, grid: _Grid) -> Tensor:
    """Mix four pixels for each of the result, (B, H, W, C or more) float32.

    Args:
        words: (P, C) uint8, or (P, 1) int32 of four bytes each.
        grid: of the result.
    """
    size = len(grid.first), grid.first.shape[1], grid.across.shape[1], -1

    def tap(row: int, column: int) -> Tensor:
        index = grid.first[:, :, None, row] + grid.across[:, None, :, column]
        return words.index_select(0, index.flatten()).view(torch.uint8).view(size)

    def side(column: int) -> Tensor:
        upper, lower = grid.down[:, :, None, :1], grid.down[:, :, None, 1:]
        return torch.mul(tap(0, column), upper).addcmul_(tap(1, column), lower)

    left, right = grid.right[:, None, :, :1], grid.right[:, None, :, 1:]
    return side(0).mul_(left).addcmul_(side(1), right)
