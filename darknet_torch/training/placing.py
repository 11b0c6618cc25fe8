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

from darknet_torch.images.bilinear import Taps, last_row
from darknet_torch.training.augment import GREY_LEVEL, Geometry, span

__all__ = ["Axis", "PlacingFacts", "place_batch"]

TOGETHER = 1 << 22
"""Pixels of the result that are computed at a time, in some 200 MB."""
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


class PlacingFacts(NamedTuple):
    """What `place_batch` needs to know of each image, and what no image needs.

    Attributes:
        table: (B, K) float64: where the pixels of an image start, whether it is mirrored, the
            factor of its last row, its columns and rows (`Axis`), the colour beyond the window.
        beyond: whether any image has such a colour.
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
            any(axis.end < ANY for axis in (*columns, *rows)),
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
    parts = max(1, TOGETHER // (size[0] * size[1]))
    for table, part in zip(facts.table.split(parts), out.split(parts), strict=True):
        mixed = _placed(words, facts._replace(table=table), size)
        part.copy_(mixed.permute(0, 3, 1, 2)[:, :channels])
    return out


def _placed(words: Tensor, facts: PlacingFacts, size: tuple[int, int]) -> Tensor:
    """Return (B, height, width, C or more) float32, of which the whole part is the level."""
    start, flip, factor = facts.table[:, :3].T[..., None]
    columns, rows, colour = facts.table[:, 3:].split((7, 7, facts.table.shape[1] - 17), 1)
    across, is_column = _taps(columns, size[1], flip)
    down, is_row = _taps(rows, size[0])
    kind = torch.int32 if len(words) < 2**31 else torch.int64
    pitch = columns[:, 4, None, None]
    first = (start[..., None] + down.position * pitch).to(kind)
    mixed = _mixed(words, Taps(first, down.weight), Taps(across.position.to(kind), across.weight))
    if facts.beyond:
        beyond = 1 - down.weight.sum(2)[:, :, None] * across.weight.sum(2)[:, None]
        colour = F.pad(colour, (0, mixed.shape[3] - colour.shape[1])).float()
        mixed.addcmul_(beyond[..., None], colour[:, None, None])
    mixed.add_(0.5)  # to the nearest level
    if facts.darker:
        last = torch.arange(size[0], device=words.device) == (rows[:, :1] + rows[:, 1:2] - 1)
        mixed.floor_().mul_(torch.where(last, factor, 1.0).float()[:, :, None, None])
    if facts.margin:
        inside = is_row[:, :, None] & is_column[:, None]
        mixed = torch.where(inside[..., None], mixed, float(GREY_LEVEL))
    return mixed


def _taps(axis: Tensor, size: int, flip: Tensor | None = None) -> tuple[Taps, Tensor]:
    """Return the taps of all images along an axis, and (B, size) what of it the target covers.

    Args:
        axis: (B, 7), an `Axis` each.
        size: of the input.
        flip: (B, 1), 1 where the input is mirrored along the axis.

    Returns:
        Positions (B, size, 2) float64 in the part inside of the window, and weights (B, size, 2)
        float32: zero outside of the target and for pixels without a value.
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
    return Taps(inside.minimum(visible[..., None] - 1), weight.float()), covered


def _mixed(words: Tensor, down: Taps, across: Taps) -> Tensor:
    """Mix four pixels for each of the result, (B, H, W, C or more) float32.

    Args:
        words: (P, C) uint8, or (P, 1) int32 of four bytes each.
        down: (B, H, 2), the first pixel of both rows.
        across: (B, W, 2), both columns.
    """
    size = len(down.position), down.position.shape[1], across.position.shape[1], -1

    def tap(row: int, column: int) -> Tensor:
        index = down.position[:, :, None, row] + across.position[:, None, :, column]
        return words.index_select(0, index.flatten()).view(torch.uint8).view(size)

    def side(column: int) -> Tensor:
        upper, lower = down.weight[:, :, None, :1], down.weight[:, :, None, 1:]
        return torch.mul(tap(0, column), upper).addcmul_(tap(1, column), lower)

    left, right = across.weight[:, None, :, :1], across.weight[:, None, :, 1:]
    return side(0).mul_(left).addcmul_(side(1), right)
