"""Images on their way to a network: read, and of its size here or on its device.

On the CPU, the threads that read images also resize them. For another device the pixels stay as
they were read, a quarter of the bytes, and are resized there, all of a batch together. With the
decoder "nvjpeg" a JPEG goes there as its file has it, and is decoded there, too.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from io import BytesIO
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from darknet_torch.errors import DarknetError
from darknet_torch.images.batch_resizing import resize_batch
from darknet_torch.images.decoders import DecoderName, decode_on
from darknet_torch.images.plain_jpeg import Jpeg, plain_jpeg
from darknet_torch.images.reading import ImageSource, read
from darknet_torch.images.resizing import (
    Fit,
    Placement,
    cropping,
    letterboxing,
    stretching,
)
from darknet_torch.images.upload import pinned
from darknet_torch.inference.sources import fetched, path_of
from darknet_torch.network import Runnable

__all__ = ["Prepared", "Reading", "as_batch", "decoded"]

T = TypeVar("T")

LARGEST = 12 << 20
"""Values of an image beyond which its threads resize it, so that few of them lie in memory."""

AT_ONCE = 128 << 20
"""Values of the images that are decoded on a device at once, unless a single one has more."""

FLAT = 2 / 255
"""Smallest difference of two pixels of an image that is not of one colour."""


@dataclass(frozen=True)
class Prepared:
    """An image that was read.

    Args:
        image: as it was read, (C, H, W) uint8, or of the network's size, float32 in 0..1; nothing,
            (0,) uint8, where it is still a JPEG.
        fit: how it becomes the network's input.
        path: its file or address, if it has one.
        width: of the image that was read, in pixels.
        height: of the image that was read.
        jpeg: the file that is to be decoded on the device, if it is.
    """

    image: Tensor
    fit: Fit
    path: str | None
    width: int
    height: int
    jpeg: Jpeg | None = None

    @property
    def waits(self) -> bool:
        """Whether it is to be resized on the device."""
        return self.image.dtype == torch.uint8

    @property
    def pixels(self) -> Tensor:
        """The network's input, (C, height, width) float32 in 0..1, of an image that is decoded."""
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
        decoder: of JPEG files; "nvjpeg" leaves them to `decoded`.
    """

    channels: int
    width: int
    height: int
    fitting: Callable[[int, int, int, int], Fit]
    max_pixels: int
    device: torch.device
    decoder: DecoderName = "pillow"

    @classmethod
    def of(
        cls,
        network: Runnable,
        fitting: Callable[[int, int, int, int], Fit],
        max_pixels: int,
        decoder: DecoderName = "pillow",
    ) -> Self:
        """Return how images are read for a network."""
        shape = network.plan.input
        return cls(shape.c, shape.w, shape.h, fitting, max_pixels, network.device, decoder)

    def __call__(self, source: ImageSource) -> Prepared:
        """Read one image.

        Args:
            source: a path, an address, or what else `read` takes.

        Raises:
            ImageError: the image cannot be read.
        """
        content = fetched(source)
        if self.decoder == "nvjpeg" and self.channels == 3:
            jpeg = plain_jpeg(content, self.max_pixels)
            if jpeg is not None:
                return self.of_jpeg(jpeg, path_of(source))
        image = read(
            content, channels=self.channels, max_pixels=self.max_pixels, decoder=self.decoder
        )
        return self.of_image(image, path_of(source))

    def of_image(self, image: Tensor, path: str | None) -> Prepared:
        """Return an image that was read, (C, H, W); resized, unless the device does that."""
        height, width = image.shape[1:]
        fit = self.fit(width, height)
        waits = _is_for_device(image, self.device)
        image = pinned(image, self.device) if waits else fit.apply(image)
        return Prepared(image, fit, path, width, height)

    def of_jpeg(self, jpeg: Jpeg, path: str | None) -> Prepared:
        """Return an image that is to be decoded on the device."""
        size = jpeg.upright_size
        return Prepared(torch.empty(0, dtype=torch.uint8), self.fit(*size), path, *size, jpeg)

    def fit(self, width: int, height: int) -> Fit:
        """Return how an image of width x height pixels becomes the network's input."""
        return self.fitting(width, height, self.width, self.height)

    def to_dict(self) -> dict[str, Any]:
        """Return it for another process, as JSON can hold it.

        "most_waiting" are the values of an image up to which it is resized on the device.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        names = {"fitting": self.fitting.__name__, "device": str(self.device)}
        return values | names | {"most_waiting": 0 if self.device.type == "cpu" else LARGEST}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return what `to_dict` had."""
        known = {each.__name__: each for each in (stretching, letterboxing, cropping)}
        fitting, device = known[values["fitting"]], torch.device(values["device"])
        kept = {field.name: values[field.name] for field in fields(cls)}
        return cls(**kept | {"fitting": fitting, "device": device})


def decoded(images: Sequence[T], device: torch.device) -> list[T | DarknetError]:
    """Decode the images that are still JPEGs, in few calls on a device, and resize them there.

    What the device refuses is decoded by Pillow.

    Args:
        images: prepared ones, and others, which stay as they are.
        device: where the network computes.

    Returns:
        The images; the error in place of one that cannot be decoded.
    """
    result: list[Any] = list(images)
    waiting = [n for n, each in enumerate(result) if isinstance(each, Prepared) and each.jpeg]
    for part in _parts(waiting, [result[n] for n in waiting]):
        pixels = decode_on([result[n].jpeg for n in part], device)
        good = {n: each for n, each in zip(part, pixels, strict=True) if each is not None}
        if good:
            fits = [result[n].fit for n in good]
            inputs = resize_batch(list(good.values()), fits, device)
            for n, image in zip(good, inputs, strict=True):
                result[n] = replace(result[n], image=image, jpeg=None)
        for n in set(part) - good.keys():
            result[n] = _decoded_here(result[n])
    return result


def _parts(indices: Sequence[int], images: Sequence[Prepared]) -> Iterator[list[int]]:
    """Yield the indices of images that may lie on a device at once, decoded."""
    part, total = list[int](), 0
    for index, image in zip(indices, images, strict=True):
        size = 3 * image.width * image.height
        if part and total + size > AT_ONCE:
            yield part
            part, total = [], 0
        part.append(index)
        total += size
    if part:
        yield part


def _decoded_here(image: Prepared) -> Prepared | DarknetError:
    """Decode a JPEG by Pillow; its header was checked when it was read."""
    assert image.jpeg is not None
    file = BytesIO(image.jpeg.content)
    file.name = image.path or "<bytes>"  # for messages
    try:
        pixels = image.jpeg.upright(read(file, max_pixels=0))
    except DarknetError as error:
        return error
    return replace(image, image=image.fit.apply(pixels), jpeg=None)


def as_batch(images: Sequence[Prepared], network: Runnable) -> Tensor:
    """Return the network's input for some images, (B, C, height, width) on its device.

    Raises:
        ImageError: one that is still a JPEG cannot be decoded.
    """
    images = [_raised(image) for image in decoded(images, network.device)]
    if all(image.waits for image in images):
        pixels = [image.image for image in images]
        batch = resize_batch(pixels, [image.fit for image in images], network.device)
    else:
        parts = [image.pixels.to(network.device) for image in images]
        batch = parts[0][None] if len(parts) == 1 else torch.stack(parts)  # one is not copied
    return batch.to(network.device, network.input_dtype)


def _raised(image: Prepared | DarknetError) -> Prepared:
    if isinstance(image, DarknetError):
        raise image
    return image


def _is_for_device(image: Tensor, device: torch.device) -> bool:
    if device.type == "cpu" or image.device.type != "cpu":
        return False
    return image.dtype == torch.uint8 and image.numel() <= LARGEST
