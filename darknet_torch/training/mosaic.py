"""Composed images: four in one (mosaic), one blended with another, one with a part of another.

Source: AlexeyAB's data.c (load_data_detection, blend_truth_mosaic, load_data_augment).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from darknet_torch.training.augment import Geometry
from darknet_torch.training.colour import Colour, distort
from darknet_torch.training.objects import ImageObjects

__all__ = ["Placed", "blend", "cut_box", "cut_point", "mosaic", "to_corner"]

FROM, TO = 0.2, 0.8
"""Where the cut point lies, as fractions of the input."""
EVERY = slice(None)
CUT_FROM, CUT_TO = 0.3, 0.8
"""Sides of the part that `cutmix` pastes, as fractions of the input."""


class Placed(NamedTuple):
    """An image in its place in the network's input, with its colours yet to be changed.

    Attributes:
        image: (C, H, W), as large as the input.
        objects: in fractions of it.
        fill: pixels (left, top, right, bottom) at its sides that the original image does not cover.
        colour: the change of its colours.
    """

    image: Tensor
    objects: ImageObjects
    fill: tuple[int, int, int, int] = (0, 0, 0, 0)
    colour: Colour = Colour()

    def pixels(self, rows: slice = EVERY, columns: slice = EVERY) -> Tensor:
        """Return a part of the image with its colours changed."""
        part = self.image[:, rows, columns]
        return part if self.colour == Colour() else distort(part, *self.colour)


def cut_point(rng: np.random.Generator, width: int, height: int) -> tuple[int, int]:
    """Return the point (x, y), in pixels of the input, where the four images meet."""
    x, y = (int(rng.integers(int(side * FROM), int(side * TO) + 1)) for side in (width, height))
    return x, y


def to_corner(geometry: Geometry, number: int, image: tuple[int, int]) -> Geometry:
    """Move the window so that it begins at the corner of the image that lies in the mosaic's.

    Args:
        geometry: of a cropped image.
        number: of the quarter: 0 top left, 1 top right, 2 bottom left, 3 bottom right.
        image: (width, height) in pixels.
    """
    _, _, width, height = geometry.window
    at_right = bool(number % 2) != geometry.flip
    left = image[0] - width if at_right else 0
    top = image[1] - height if number >= 2 else 0
    return geometry._replace(window=(left, top, width, height))


def mosaic(
    quarters: Sequence[Placed], cut: tuple[int, int], *, bound: bool = False
) -> tuple[Tensor, ImageObjects]:
    """Compose four images around a point, each with its side next to that point.

    Args:
        quarters: top left, top right, bottom left, bottom right.
        cut: the point (x, y) in pixels.
        bound: whether boxes end at the borders of their quarter, not only of the image.

    Returns:
        The image (C, H, W), and the objects that have more than a pixel inside, in fractions of it.
    """
    height, width = quarters[0].image.shape[1:]
    out = torch.empty_like(quarters[0].image, memory_format=torch.contiguous_format)
    every = None
    for number, quarter in enumerate(quarters):
        left, top, right, bottom = quarter.fill
        x0, x1, dx = _side(bool(number % 2), cut[0], width, left, right)
        y0, y1, dy = _side(number >= 2, cut[1], height, top, bottom)
        rows, columns = slice(y0 - dy, y1 - dy), slice(x0 - dx, x1 - dx)
        out[:, y0:y1, x0:x1] = quarter.pixels(rows, columns)
        part = np.array((x0, y0, x1, y1)) if bound else np.array((0, 0, width, height))
        objects = _inside(quarter.objects, (dx, dy), part, (width, height))
        every = objects if every is None else every + objects
    assert every is not None  # there are four
    return out, every


def _side(second: bool, cut: int, size: int, before: int, after: int) -> tuple[int, int, int]:
    """Start and end in the mosaic, and how far the image is moved, of one axis of a quarter."""
    if second:
        return cut, size, cut - min(cut, before)
    return 0, cut, cut + min(size - cut, after) - size


def _inside(
    objects: ImageObjects, shift: tuple[int, int], part: np.ndarray, size: tuple[int, int]
) -> ImageObjects:
    width, height = size
    moved = objects.moved(1, shift[0] / width, 1, shift[1] / height, clip=False)
    moved = moved.clipped(tuple(part / (width, height, width, height)))
    return moved.larger_than(1 / width, 1 / height)


def blend(image: Tensor, other: Tensor) -> Tensor:
    """Return the mean of two images (C, H, W)."""
    if image.dtype == torch.uint8:
        return ((image.short() + other.short() + 1) >> 1).to(torch.uint8)
    return (image + other) / 2


def cut_box(rng: np.random.Generator, width: int, height: int) -> tuple[slice, slice]:
    """Return the rows and columns that `cutmix` takes from another image."""
    columns, rows = (_part(rng, side) for side in (width, height))
    return rows, columns


def _part(rng: np.random.Generator, side: int) -> slice:
    length = int(rng.integers(int(side * CUT_FROM), int(side * CUT_TO) + 1))
    start = int(rng.integers(0, side - length + 1))
    return slice(start, start + length)
