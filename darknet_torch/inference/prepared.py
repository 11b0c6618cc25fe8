"""Images on their way to a network: read, and of its size here or on its device.

On the CPU, the threads that read images also resize them. For another device the pixels stay as
they were read, a quarter of the bytes, and are resized there, all of a batch together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

from darknet_torch.images.batch_resizing import resize_batch
from darknet_torch.images.reading import ImageSource, read
from darknet_torch.images.resizing import (
    Fit,
    Placement,
    cropping,
    letterboxing,
    stretching,
)
from darknet_torch.inference.sources import fetched, path_of
from darknet_torch.network import Runnable

__all__ = ["Prepared", "Reading", "as_batch"]

LARGEST = 12 << 20
"""Values of an image beyond which its threads resize it, so that few of them lie in memory."""

FLAT = 2 / 255
"""Smallest difference of two pixels of an image that is not of one colour."""


@dataclass(frozen=True)
class Prepared:
    """An image that was read.

    Args:
        image: as it was read, (C, H, W) uint8, or of the network's size, float32 in 0..1.
        fit: how it becomes the network's input.
        path: its file or address, if it has one.
        width: of the image that was read, in pixels.
        height: of the image that was read.
    """

    image: Tensor
    fit: Fit
    path: str | None
    width: int
    height: int

    @property
    def waits(self) -> bool:
        """Whether it is to be resized on the device."""
        return self.image.dtype == torch.uint8

    @property
    def pixels(self) -> Tensor:
        """The network's input, (C, height, width) float32 in 0..1 on the CPU."""
        return self.fit.apply(self.image) if self.waits else self.image

    @property
    def is_flat(self) -> bool:
        """Whether the image is of one colour."""
        fit, pixels = self.fit, self.pixels
        rows = slice(fit.top, fit.top + len(fit.rows.position))
        columns = slice(fit.left, fit.left + len(fit.columns.position))
        part = pixels[:, rows, columns].flatten(1)  # without the margins
        return bool((part.amax(1) - part.amin(1)).max() < FLAT)

    def placement(self, letterbox: bool) -> Placement:
        """Return where the image lies in the network's input.

        Args:
            letterbox: whether it has margins.
        """
        return Placement(self.width, self.height, self.fit.width, self.fit.height, letterbox)


@dataclass(frozen=True)
class Reading:
    """How images are read for a network.

    Args:
        channels: of the network's input.
        width: of the network's input, in pixels.
        height: of the network's input.
        fitting: `stretching`, `letterboxing` or `cropping`.
        max_pixels: most pixels of an image file.
        device: where the network computes.
    """

    channels: int
    width: int
    height: int
    fitting: Callable[[int, int, int, int], Fit]
    max_pixels: int
    device: torch.device

    @classmethod
    def of(
        cls, network: Runnable, fitting: Callable[[int, int, int, int], Fit], max_pixels: int
    ) -> Self:
        """Return how images are read for a network."""
        shape = network.plan.input
        return cls(shape.c, shape.w, shape.h, fitting, max_pixels, network.device)

    def __call__(self, source: ImageSource) -> Prepared:
        """Read one image.

        Args:
            source: a path, an address, or what else `read` takes.

        Raises:
            ImageError: the image cannot be read.
        """
        image = read(fetched(source), channels=self.channels, max_pixels=self.max_pixels)
        height, width = image.shape[1:]
        fit = self.fit(width, height)
        if not _is_for_device(image, self.device):
            image = fit.apply(image)
        return Prepared(image, fit, path_of(source), width, height)

    def fit(self, width: int, height: int) -> Fit:
        """Return how an image of width x height pixels becomes the network's input."""
        return self.fitting(width, height, self.width, self.height)

    def to_dict(self) -> dict[str, Any]:
        """Return it for another process, as JSON can hold it."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {"fitting": self.fitting.__name__, "device": str(self.device)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return what `to_dict` had."""
        known = {each.__name__: each for each in (stretching, letterboxing, cropping)}
        fitting, device = known[values["fitting"]], torch.device(values["device"])
        return cls(**values | {"fitting": fitting, "device": device})


def as_batch(images: Sequence[Prepared], network: Runnable) -> Tensor:
    """Return the network's input for some images, (B, C, height, width) on its device."""
    if all(image.waits for image in images):
        pixels = [image.image for image in images]
        batch = resize_batch(pixels, [image.fit for image in images], network.device)
    else:
        batch = torch.stack([image.pixels for image in images])
    return batch.to(network.device, network.input_dtype)


def _is_for_device(image: Tensor, device: torch.device) -> bool:
    if device.type == "cpu" or image.device.type != "cpu":
        return False
    return image.dtype == torch.uint8 and image.numel() <= LARGEST
