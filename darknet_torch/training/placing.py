"""Crop, resize, paste and mirror the images of a batch together on a device, in few steps.

What `Geometry.apply` does to one image on the CPU is done here to many at once: each pixel of the
network's input is mixed of four pixels of its own image. The values differ by one level at most.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_torch.heads.base import constant
from darknet_torch.images.bilinear import last_row
from darknet_torch.images.kernels import working_kernels
from darknet_torch.training.augment import GREY_LEVEL, Geometry, span

__all__ = ["PlacingFacts", "place_batch"]

TOGETHER = 1 << 23
"""Pixels of the result that are computed at a time, in some 500 MB."""
ANY = math.inf
KERNELS = "darknet_torch.training.image_kernel"


class Axis(NamedTuple):
    """How the rows, or the columns, of an image become those of the network's input.

    Attributes:
        first: number of the input's first pixel, counted from that of the target.
        step: from a pixel of the input to the next, -1 where it is mirrored.
        length: of the target.
        scale: pixels of the window for one of the target.
        before: pixels of the window that lie before the image.
        visible: pixels of the window that lie on the image.
        lowest: first pixel of the window that has a value; others have the colour beyond.
        end: behind the last one.
    """

    first: float
    step: float
    length: float
    scale: float
    before: float
    visible: float
    lowest: float
    end: float

    @classmethod
    def of(cls, geometry: Geometry, axis: int, size: int, new: int) -> Self:
        """Return those of an axis.

        Args:
            geometry: of the image.
            axis: 0 for columns and 1 for rows.
            size: of the image in pixels.
            new: of the input in pixels.
        """
        window = geometry.window[axis + 2]
        start, length = int(geometry.target[axis]), max(int(geometry.target[axis + 2]), 1)
        where = (new - 1 - start, -1) if geometry.flip and axis == 0 else (-start, 1)
        inside, before, _ = span(geometry.window[axis], window, size)
        visible = inside.stop - inside.start
        if not geometry.aligned:
            return cls(*where, length, window / length, before, visible, -ANY, window)
        known = (before, before + visible) if geometry.mean else (-ANY, ANY)
        return cls(*where, length, (window - 1) / max(length - 1, 1), before, visible, *known)

    def leaves_margin(self, new: int) -> bool:
        """Return whether the target does not cover all pixels of the input."""
        start = -self.first if self.step > 0 else new - 1 - self.first
        return start > 0 or start + self.length < new


AXIS, VISIBLE = len(Axis._fields), Axis._fields.index("visible")


class PlacingFacts(NamedTuple):
    """What `place_batch` needs to know of each image, and what no image needs.

    Attributes:
        table: (B, K) float64: where the pixels of an image start, which row of the input is its
            last and the factor of that, its columns and rows (`Axis`), the colour beyond.
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
        height, width = size
        pairs = list(zip(geometries, shapes, strict=True))
        columns = [Axis.of(g, 0, shape[2], width) for g, shape in pairs]
        rows = [Axis.of(g, 1, shape[1], height) for g, shape in pairs]
        factors = [
            last_row(g.window[3], int(axis.length))[1] if g.aligned else 1.0
            for g, axis in zip(geometries, rows, strict=True)
        ]
        each = zip(starts, factors, columns, rows, colours, strict=True)
        table = [(s, y.length - 1 - y.first, f, *x, *y, *c) for s, f, x, y, c in each]
        return cls(
            torch.tensor(table, dtype=torch.float64),
            any(map(any, colours)),
            any(x.leaves_margin(width) for x in columns)
            or any(y.leaves_margin(height) for y in rows),
            any(factor < 1 for factor in factors),
        )


def place_batch(pixels: Tensor, facts: PlacingFacts, size: tuple[int, int]) -> Tensor:
    """Return the network's input (B, C, height, width) uint8, on the device of the pixels.

    Args:
        pixels: (P, C) uint8, the parts of all images that lie inside of their windows.
        facts: of the images, on the device of the pixels.
        size: (height, width) of the input.
    """
    kernels = working_kernels(KERNELS, pixels.device, _agree)
    if kernels is not None:
        placed: Tensor = kernels.place(pixels, facts.table, size, GREY_LEVEL)
        return placed
    return _placed_by_torch(pixels, facts, size)


def _agree(kernels: Any, device: torch.device) -> bool:
    """Return whether a kernel places two images as torch's operations do, to one level."""
    beside = Geometry((-2, 1, 9, 6), (1, 2, 6, 5), flip=True, aligned=True, mean=True)
    within = Geometry((1, -1, 4, 5), (-1, 0, 9, 6), flip=False, aligned=False, mean=False)
    colours, size = [[9.0, 99.0, 199.0], [0.0] * 3], (7, 8)
    facts = PlacingFacts.of([beside, within], [(3, 5, 6)] * 2, [0, 24], colours, size)
    facts = facts._replace(table=facts.table.to(device))
    pixels = (torch.arange(150, device=device) * 7 % 256).to(torch.uint8).view(50, 3)
    mine, wanted = (
        kernels.place(pixels, facts.table, size, GREY_LEVEL),
        _placed_by_torch(pixels, facts, size),
    )
    return bool((mine.int() - wanted.int()).abs().max() <= 1)


def _placed_by_torch(pixels: Tensor, facts: PlacingFacts, size: tuple[int, int]) -> Tensor:
    """Do what `place_batch` does, by torch's operations."""
    count, channels = len(facts.table), pixels.shape[1]
    out = pixels.new_empty(count, channels, *size)
    # four bytes are one number, which is picked as fast as one byte
    words = F.pad(pixels, (0, 1)).view(torch.int32) if channels == 3 else pixels
    grid, together = _grid(len(words), facts, size), max(1, TOGETHER // (size[0] * size[1]))
    for start in range(0, count, together):
        some = slice(start, start + together)
        mixed = _placed(words, grid.part(some), facts)
        out[some].copy_(mixed.permute(0, 3, 1, 2)[:, :channels])
    return out


class _Grid(NamedTuple):
    """Which pixels make each row and each column of the input, of B images.

    Attributes:
        first: (2, B, H) integers, the first pixel of both rows.
        down: (2, B, H) float32, the weights of both.
        is_row: (B, H) bool, whether the target covers it.
        across: (2, B, W) integers, both columns.
        right: (2, B, W) float32, the weights of both.
        is_column: (B, W) bool.
        factor: (B, H) float32, of the brightness; None: of all 1.
        colour: (B, C) float32, beyond the window.
    """

    first: Tensor
    down: Tensor
    is_row: Tensor
    across: Tensor
    right: Tensor
    is_column: Tensor
    factor: Tensor | None
    colour: Tensor

    def part(self, images: slice) -> Self:
        """Return what belongs to some images."""
        taps = [each[:, images] for each in (self.first, self.down, self.across, self.right)]
        first, down, across, right = taps
        factor = None if self.factor is None else self.factor[images]
        is_row, is_column, colour = self.is_row[images], self.is_column[images], self.colour[images]
        return type(self)(first, down, is_row, across, right, is_column, factor, colour)


def _grid(pixels: int, facts: PlacingFacts, size: tuple[int, int]) -> _Grid:
    height, width = size
    start, last, factor = facts.table[:, :3].T[..., None]
    axes, colour = facts.table[:, 3:].tensor_split((2 * AXIS,), 1)
    axes = axes.unflatten(1, (2, AXIS)).permute(2, 1, 0)[..., None]  # (AXIS, 2, B, 1)
    position, weight, covered = _taps(axes, max(size))
    first = torch.addcmul(start, position[:, 1, :, :height], axes[VISIBLE, 0])
    factors = None
    if facts.darker:
        is_last = torch.arange(height, device=first.device) == last
        factors = torch.where(is_last, factor, constant((1.0,), factor)).float()
    kind = torch.int32 if pixels < 2**31 else torch.int64
    return _Grid(
        first.to(kind),
        weight[:, 1, :, :height],
        covered[1, :, :height],
        position[:, 0, :, :width].to(kind),
        weight[:, 0, :, :width],
        covered[0, :, :width],
        factors,
        colour.float(),
    )


def _taps(axes: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return which two pixels make each column, and each row, of the input of all images.

    Args:
        axes: (AXIS, 2, B, 1), the fields of the `Axis` of columns and of rows.
        size: of the input, the larger one of both.

    Returns:
        Positions (2, 2, B, size) float64, of both pixels in the part inside of the window, by
        column and row; weights of that shape, float32, zero outside of the target and for pixels
        without a value; and what the target covers, (2, B, size) bool.
    """
    first, step, length, scale, before, visible, lowest, end = axes
    place = torch.addcmul(first, torch.arange(size, device=axes.device), step)
    covered = (place >= 0).logical_and_(place < length)
    position = place.mul_(scale)
    lower = position.floor()
    share = position.sub_(lower)
    pair = torch.Size((2, 1, 1, 1))
    both = lower + constant((0.0, 1.0), axes).view(pair)
    known = (both >= lowest).logical_and_(both < end).logical_and_(covered)
    weight = torch.addcmul(
        constant((1.0, 0.0), axes).view(pair), share, constant((-1.0, 1.0), axes).view(pair)
    )
    inside = both.sub_(before).clamp_min_(0)
    return torch.minimum(inside, visible - 1), weight.mul_(known).float(), covered


def _placed(words: Tensor, grid: _Grid, facts: PlacingFacts) -> Tensor:
    """Return (B, height, width, C or more) float32, of which the whole part is the level."""
    mixed = _mixed(words, grid)
    if facts.beyond:
        beyond = 1 - grid.down.sum(0)[:, :, None] * grid.right.sum(0)[:, None]
        colour = F.pad(grid.colour, (0, mixed.shape[3] - grid.colour.shape[1]))
        mixed.addcmul_(beyond[..., None], colour[:, None, None])
    mixed.add_(0.5)  # to the nearest level
    if grid.factor is not None:
        mixed.floor_().mul_(grid.factor[:, :, None, None])
    if facts.margin:
        inside = grid.is_row[:, :, None] & grid.is_column[:, None]
        mixed = torch.where(inside[..., None], mixed, constant((float(GREY_LEVEL),), mixed))
    return mixed


def _mixed(words: Tensor, grid: _Grid) -> Tensor:
    """Mix four pixels for each of the result, (B, H, W, C or more) float32.

    Args:
        words: (P, C) uint8, or (P, 1) int32 of four bytes each.
        grid: of the result.
    """
    index = grid.first[:, None, :, :, None] + grid.across[None, :, :, None]  # (2, 2, B, H, W)
    taps = words.index_select(0, index.flatten()).view(torch.uint8).view(*index.shape, -1)
    upper, lower = grid.down[:, None, :, :, None, None]
    left, right = grid.right[:, :, None, :, None]
    sides = torch.mul(taps[0], upper).addcmul_(taps[1], lower)  # (2, B, H, W, C)
    return sides[0].mul_(left).addcmul_(sides[1], right)
