"""Outlines of objects, as annotations have them, and the masks that they stand for.

    COCO, polygons: [[x1, y1, x2, y2, ...], ...] in pixels, together one object
    COCO, runs: {"size": [height, width], "counts": [n, n, ...]}, or compressed into a string
    Darknet's mask files, runs: n,n,...

Runs are in turn outside and inside; COCO's go down the columns, Darknet's along the rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from darknet_torch.data.dataset import Array
from darknet_torch.data.messages import finite_number, shown
from darknet_torch.errors import DataError

__all__ = ["Outline", "read_outline", "read_runs"]

MOST_POINTS = 1 << 16
"""Corners of an object's polygons."""
FARTHEST = 1e6
"""Pixels of the farthest corner from 0."""
MOST_PIXELS = 1 << 31


@dataclass(frozen=True, eq=False)
class Outline:
    """Where in its image an object is: polygons or runs.

    Attributes:
        polygons: (K, 2) float32 each, corners in pixels.
        runs: (N,) int64, pixels outside and inside in turn, column by column; None: polygons.
        size: (width, height) of the image that the runs are of.
        by_row: the runs go row by row.
    """

    polygons: tuple[Array, ...] = ()
    runs: Array | None = None
    size: tuple[int, int] = (0, 0)
    by_row: bool = False

    def mask(self, width: int, height: int) -> Array:
        """Return the object's pixels, (height, width) bool; those whose centre is inside.

        Raises:
            DataError: the runs are of an image of another size.
        """
        if self.runs is None:
            mask = np.zeros((height, width), bool)
            for polygon in self.polygons:
                mask |= _filled(polygon, width, height)
            return mask
        if self.size != (width, height):
            raise DataError(f"runs of {self.size[0]} x {self.size[1]}, not {width} x {height}")
        inside = np.repeat(np.arange(len(self.runs)) % 2 == 1, self.runs)
        return inside.reshape(height, width) if self.by_row else inside.reshape(width, height).T


def read_outline(segmentation: Any) -> Outline | None:
    """Return the outline in an annotation's `segmentation`; None if that is empty.

    Raises:
        DataError: it is none of the forms above.
    """
    if isinstance(segmentation, dict):
        return _of_runs(segmentation)
    if not isinstance(segmentation, list):
        raise DataError(f"segmentation: {shown(segmentation)}; polygons or runs expected")
    polygons = tuple(_polygon(each) for each in segmentation)
    if sum(map(len, polygons)) > MOST_POINTS:
        raise DataError(f"segmentation: more than {MOST_POINTS} corners")
    return Outline(polygons) if polygons else None


def read_runs(text: str, width: int, height: int) -> Outline:
    """Return the outline in a row of Darknet's mask files, of an image of that size.

    The pixels behind the last run are of the kind that would follow, as in Darknet (`load_rle`).

    Raises:
        DataError: no whole numbers, or more pixels than the image has.
    """
    counts = text.split(",")
    if not text.isascii() or not all(each.isdigit() and len(each) <= 10 for each in counts):
        raise DataError(f"runs {shown(text)}; whole numbers of pixels with commas expected")
    runs = [int(each) for each in counts]
    rest = width * height - sum(runs)
    if rest < 0:
        raise DataError(f"runs of {sum(runs)} pixels, the image has {width} x {height}")
    return Outline(runs=np.array([*runs, rest], np.int64), size=(width, height), by_row=True)


def _polygon(numbers: Any) -> Array:
    if not isinstance(numbers, list) or len(numbers) < 6 or len(numbers) % 2:
        raise DataError(f"segmentation: {shown(numbers)}; at least three corners x, y expected")
    if any(isinstance(each, str) for each in numbers):
        raise DataError("segmentation: words; numbers expected")
    corners = np.array([finite_number(each) for each in numbers]).reshape(-1, 2)
    if (np.abs(corners) > FARTHEST).any():
        raise DataError("segmentation: a corner more than 1e6 pixels away")
    return corners.astype(np.float32)


def _of_runs(segmentation: Mapping[str, Any]) -> Outline:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(map(_is_count, size)):
        raise DataError(f"segmentation: size {shown(size)}; [height, width] expected")
    if isinstance(counts, str):
        counts = _decompressed(counts)
    if not isinstance(counts, list) or not all(map(_is_count, counts)):
        raise DataError(f"segmentation: counts {shown(counts)}; numbers of pixels expected")
    height, width = size
    if sum(counts) != height * width or height * width > MOST_PIXELS:
        raise DataError(f"segmentation: runs of {sum(counts)} pixels for {width} x {height}")
    return Outline(runs=np.array(counts, np.int64), size=(width, height))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_PIXELS


def _decompressed(text: str) -> Sequence[int]:
    """Return the runs in COCO's compressed string.

    Five bits of a number in each character from `0` on, the sixth says that more follow; from the
    fourth number on it is the difference from the number two before it.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 40:
            raise DataError(f"segmentation: counts {shown(text)}; no compressed runs")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= (1 << shift) if code & 16 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise DataError(f"segmentation: counts {shown(text)}: cut off")
    return runs


def _filled(corners: Array, width: int, height: int) -> Array:
    """Return the pixels (height, width) whose centre is inside a polygon, by the even-odd rule.

    Pillow's polygons have the pixels of their edges too, which makes small objects much larger.
    """
    first, second = corners.astype(np.float64), np.roll(corners, -1, axis=0).astype(np.float64)
    upper = np.where(first[:, 1:] <= second[:, 1:], first, second)
    lower = np.where(first[:, 1:] <= second[:, 1:], second, first)
    crossings = np.zeros((height, width + 1), np.int64)
    start = np.ceil(upper[:, 1] - 0.5).clip(0, height).astype(int)
    end = np.ceil(lower[:, 1] - 0.5).clip(0, height).astype(int)
    for edge in np.flatnonzero(end > start):
        rows = np.arange(start[edge], end[edge])
        (x, y), (to_x, to_y) = upper[edge], lower[edge]
        at = x + (rows + 0.5 - y) * (to_x - x) / (to_y - y)
        columns = np.ceil(at - 0.5).clip(0, width).astype(int)
        crossings[rows, columns] += 1  # each row once
    inside: Array = crossings.cumsum(axis=1)[:, :width] % 2 == 1
    return inside
