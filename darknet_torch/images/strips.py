"""Images that are read strip by strip, from the top down: they may be larger than the memory.

A large file is decoded by libvips (the package pyvips), as far as it is needed. What it does not
read that way (other formats, turned photographs, a machine without pyvips) is in memory as a whole.
"""

from collections.abc import Iterator, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from darknet_torch.errors import DataError, ImageError
from darknet_torch.extras import installed
from darknet_torch.images.decoders import DecoderName
from darknet_torch.images.reading import ImageSource, read
from darknet_torch.images.size import ABSENT, image_size, reason

__all__ = ["LARGE", "Strips", "bands", "open_strips"]

LARGE = 64_000_000
"""Pixels from which on a file is read strip by strip."""
LOADERS = {
    b"\xff\xd8\xff": "jpegload",
    b"\x89PNG": "pngload",
    b"II*\0": "tiffload",
    b"MM\0*": "tiffload",
    b"II+\0": "tiffload",
    b"MM\0+": "tiffload",
}
"""How files begin -> the loader of libvips, which is named so that no other one is tried."""


class Strips(Protocol):
    """An image whose rows are read from the top down."""

    width: int
    height: int

    def rows(self, top: int, bottom: int) -> Tensor:
        """Return some rows, (C, bottom - top, width); none may lie above rows that were read.

        Raises:
            ImageError: the file is damaged.
        """


def open_strips(
    source: ImageSource,
    channels: int,
    max_pixels: int | None = None,
    decoder: DecoderName = "pillow",
) -> Strips:
    """Open an image, to read its rows from the top down.

    Args:
        source: what `reading.read` takes.
        channels: 3 for RGB, 1 for grey, or those of the source.
        max_pixels: most pixels of a file, see `reading.read`.
        decoder: of JPEG files that are not read strip by strip, see `reading.read`.

    Raises:
        ImageError: it cannot be read, or has too many pixels.
    """
    if channels == 3 and isinstance(source, str | PathLike):
        large = _vips_image(Path(source), max_pixels)
        if large is not None:
            return _VipsStrips(large, fspath(source))
    image = read(source, channels=channels, max_pixels=max_pixels, decoder=decoder)
    return _WholeImage(image)


def bands(strips: Strips, tops: Sequence[int], height: int) -> Iterator[Tensor]:
    """Yield bands (C, height, width) of an image, which may overlap.

    Args:
        strips: the image.
        tops: the first row of each band, rising.
        height: rows of a band.
    """
    band, reached = None, 0
    for top in tops:
        first = max(top, reached)
        new = strips.rows(first, top + height)
        kept = new[:, :0] if band is None else band[:, height - (reached - top) :]
        band = torch.cat((kept, new), dim=1) if first > top else new
        reached = top + height
        yield band


class _WholeImage:
    """An image (C, H, W) in memory."""

    def __init__(self, image: Tensor) -> None:
        self._image = image
        self.height, self.width = image.shape[1:]

    def rows(self, top: int, bottom: int) -> Tensor:
        return self._image[:, top:bottom]


class _VipsStrips:
    """A file that libvips decodes as far as it is needed."""

    def __init__(self, image: Any, name: str) -> None:
        import pyvips

        self.width, self.height, self._name = image.width, image.height, name
        self._region, self._errors = pyvips.Region.new(image), pyvips.Error

    def rows(self, top: int, bottom: int) -> Tensor:
        try:
            content = self._region.fetch(0, top, self.width, bottom - top)
        except self._errors as error:
            raise ImageError(f"{self._name}: damaged: {reason(error)}") from error
        pixels = np.frombuffer(content, np.uint8).reshape(bottom - top, self.width, 3)
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def _vips_image(path: Path, max_pixels: int | None) -> Any:
    """Return a pyvips.Image in RGB; None where the file is small, or libvips reads it otherwise."""
    try:
        width, height = image_size(path, max_pixels)
    except ABSENT:
        return None  # `read` says so
    except DataError as error:
        raise ImageError(f"{path}: {error}") from error
    if width * height < LARGE or not installed("pyvips"):
        return None
    import pyvips

    with path.open("rb") as file:
        start = file.read(8)
    loader = next((each for mark, each in LOADERS.items() if start.startswith(mark)), None)
    if loader is None:
        return None
    load = getattr(pyvips.Image, loader, None)
    if load is None:  # this libvips was built without it
        return None
    try:
        image = load(fspath(path), access="sequential", fail_on="truncated", revalidate=True)
        turned = "orientation" in image.get_fields() and image.get("orientation") > 1
        known = image.interpretation in ("srgb", "b-w", "rgb16", "grey16")
        if turned or not known or image.format not in ("uchar", "ushort"):
            return None
        image = image.colourspace("srgb")
        return image.extract_band(0, n=3) if image.bands > 3 else image
    except pyvips.Error as error:
        raise ImageError(f"{path}: {reason(error)}") from error
