"""Images that are yet to become the network's input, which a graphics card does faster.

A loader process hands on where they are to lie, with their pixels or where a cache has these.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from darknet_torch.data.dataset import Array
from darknet_torch.safety.threads import Pool
from darknet_torch.training.augment import Geometry, mean_colour, span
from darknet_torch.training.image_cache import Kept
from darknet_torch.training.placing import PlacingFacts, place_batch

__all__ = ["Unplaced", "UnplacedImages"]

MOST_TIMES = 3
"""So many times the pixels of the input may lie inside of a window; larger parts, which take long
to copy, are resized at once."""
COPIERS = 4
"""Threads that copy the pixels of a batch to pinned memory."""


class Unplaced(NamedTuple):
    """An image that is yet to become the network's input.

    Attributes:
        image: (C, H, W) uint8; its memory may not be written to.
        geometry: how it becomes that.
        size: (height, width) of the input in pixels.
        kept: where other processes find the image; None: nowhere.
    """

    image: Tensor
    geometry: Geometry
    size: tuple[int, int]
    kept: Kept | None = None

    def now(self) -> Tensor:
        """Return the network's input (C, height, width) uint8."""
        return self.geometry.apply(self.image, *self.size)

    def if_worthwhile(self) -> "Unplaced | Tensor":
        """Return the image as it is, or the network's input where `place_batch` is not for it."""
        rows, columns, area = *self.part(), self.size[0] * self.size[1]
        is_small = _pixels((rows, columns)) <= MOST_TIMES * area
        has_one_colour = self.geometry.aligned or not self.geometry.mean  # beyond the image
        return self if is_small and has_one_colour else self.now()

    def part(self) -> tuple[slice, slice]:
        """Return the rows and columns of the image that lie inside of the window."""
        left, top, width, height = self.geometry.window
        _, rows, columns = self.image.shape
        return span(top, height, rows)[0], span(left, width, columns)[0]

    def colour(self) -> list[float]:
        """Return the colour (C,) beyond the image; zeros where it is not needed."""
        rows, columns = part = self.part()
        whole = _pixels(part) == self.geometry.window[2] * self.geometry.window[3]
        if whole or not self.geometry.mean:
            return [0.0] * len(self.image)
        pixels = self.image.permute(1, 2, 0).numpy()[rows, columns]
        return [float(each) for each in mean_colour(pixels)]


@dataclass(frozen=True, eq=False)
class UnplacedImages:
    """The images of a batch that are yet to become the network's input.

    Attributes:
        facts: of where they are to lie.
        size: (height, width) of the input in pixels.
        order: (B,) int64, where (the other images, these) are in the batch; None: no others.
        pixels: (P, C) uint8, of the parts inside of the windows; None: they are in a cache.
        parts: which image of the cache, and which rows and columns of it.
    """

    facts: PlacingFacts
    size: tuple[int, int]
    order: Tensor | None
    pixels: Tensor | None
    parts: tuple[tuple[Kept, slice, slice], ...] = ()

    @classmethod
    def of(cls, images: Sequence[Tensor | Unplaced]) -> Self | None:
        """Return those of the images of a batch, or None if there are none."""
        later = [each for each in images if isinstance(each, Unplaced)]
        if not later:
            return None
        parts = [each.part() for each in later]
        facts = PlacingFacts.of(
            [each.geometry for each in later],
            [tuple(each.image.shape) for each in later],
            list(accumulate(map(_pixels, parts), initial=0))[:-1],
            [each.colour() for each in later],
            later[0].size,
        )
        is_later = np.array([isinstance(each, Unplaced) for each in images])
        order = np.where(is_later, (~is_later).sum() + is_later.cumsum(), (~is_later).cumsum()) - 1
        known = [(each.kept, *part) for each, part in zip(later, parts, strict=True) if each.kept]
        pixels = None
        if len(known) < len(later):
            pixels, known = (
                _joined(
                    [
                        each.image.permute(1, 2, 0).numpy()[part]
                        for each, part in zip(later, parts, strict=True)
                    ]
                ),
                [],
            )
        others = torch.from_numpy(order) if len(later) < len(images) else None
        return cls(facts, later[0].size, others, pixels, tuple(known))

    def pin_memory(self) -> Self:
        """Return a copy, with the pixels, in memory that a graphics card copies from by itself."""
        pixels = self._found(pinned=True) if self.pixels is None else self.pixels.pin_memory()
        order = None if self.order is None else self.order.pin_memory()
        facts = self.facts._replace(table=self.facts.table.pin_memory())
        return replace(self, facts=facts, order=order, pixels=pixels, parts=())

    def on(self, device: torch.device | str, others: Tensor) -> Tensor:
        """Return the images of the batch (B, C, height, width) uint8, placed on a device.

        Args:
            device: where they are needed.
            others: (M, C, height, width) uint8, those that are placed already, on the device.
        """
        pixels = self._found() if self.pixels is None else self.pixels
        table = self.facts.table.to(device, non_blocking=True)
        facts = self.facts._replace(table=table)
        placed = place_batch(pixels.to(device, non_blocking=True), facts, self.size)
        if self.order is None:
            return placed
        order = self.order.to(device, non_blocking=True)
        return torch.cat((others, placed)).index_select(0, order)

    def _found(self, *, pinned: bool = False) -> Tensor:
        """Return the pixels (P, C) that are in a cache."""
        parts = [kept.pixels()[rows, columns] for kept, rows, columns in self.parts]
        return _joined(parts, pinned=pinned)


def _pixels(part: tuple[slice, slice]) -> int:
    rows, columns = part
    return int((rows.stop - rows.start) * (columns.stop - columns.start))


def _joined(parts: Sequence[Array], *, pinned: bool = False) -> Tensor:
    """Return the pixels (P, C) of parts (h, w, C), one behind the other; Python goes on meanwhile.

    One call of numpy's for each takes a fraction of the time of torch's. Pinned memory is for the
    process that trains, where several threads share the work: one fills it no faster than a card
    computes.
    """
    count, channels = sum(part.shape[0] * part.shape[1] for part in parts), parts[0].shape[2]
    joined = torch.empty(count, channels, dtype=torch.uint8, pin_memory=pinned)
    out, ends = joined.view(-1).numpy(), list(accumulate(part.size for part in parts))
    copies = [
        (out[end - part.size : end].reshape(part.shape), part)
        for end, part in zip(ends, parts, strict=True)
    ]

    def copy(first: int, step: int) -> None:
        for place, part in copies[first::step]:
            place[:] = part

    if pinned:
        with Pool(COPIERS) as pool:
            list(pool.map(partial(copy, step=COPIERS), range(COPIERS)))
    else:
        copy(0, 1)
    return joined
