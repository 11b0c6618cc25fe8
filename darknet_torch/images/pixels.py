"""The pixels of image files as arrays, without torch."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from darknet_torch.images.many_channels import NPY, TIFF, read_npy, read_tiff
from darknet_torch.images.size import first_bytes, upright, use_image

__all__ = ["file_pixels", "image_pixels", "upper_bits"]

STRIP = 1 << 20
"""Pixels that Pillow hands over at a time."""


def file_pixels(file: Any, channels: int | None, limit: int) -> npt.NDArray[Any]:
    """Return the array of a path or an open file, (H, W, C) or (H, W), mostly uint8.

    Args:
        file: a path or an open file.
        channels: see `reading.read`.
        limit: most pixels, see `limits.pixel_limit`.

    Raises:
        Exception: whatever Pillow raises for a damaged file.
    """
    start = first_bytes(file)
    if start.startswith(NPY):
        return read_npy(file, limit)
    try:
        array = use_image(file, partial(image_pixels, channels=channels), limit)
    except (UnidentifiedImageError, ValueError):  # for layouts that Pillow does not have
        if not start.startswith(TIFF):
            raise
        return read_tiff(file, limit)
    if channels == 4 and not start.startswith(TIFF):
        return _with_opacity(array)
    if channels in (None, 1, 3, *array.shape[2:]) or not start.startswith(TIFF):
        return array
    return read_tiff(file, limit)  # as Pillow leaves out some of its channels, or pages


def image_pixels(image: Image.Image, channels: int | None) -> npt.NDArray[Any]:
    """Return the array of an open image, (H, W, C) or (H, W), uint8.

    It is RGB or grey, or has the image's own channels if they are as many as `channels`.
    """
    image.load()  # first, because of TIFF: Pillow turns it while loading
    image = upright(image)
    if image.mode.startswith(("I", "F")):
        largest = max(float(np.nan_to_num(part).max(initial=0)) for part in _strips(image))
        return _in_strips(image, lambda part: upper_bits(part, largest))
    if image.mode == "P" or (image.mode, channels) == ("LA", 4):  # P: Pillow warns otherwise
        image = image.convert("RGBA")
    wanted = image.mode == "RGB" or (channels not in (1, 3) and len(image.getbands()) == channels)
    return _in_strips(image if wanted else image.convert("RGB"), lambda part: part)


def _strips(image: Image.Image) -> Iterator[npt.NDArray[Any]]:
    """Yield the rows of an image some at a time: Pillow copies all that it hands over."""
    rows = max(1, STRIP // max(1, image.width))
    for top in range(0, image.height, rows):
        yield np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))


def _in_strips(
    image: Image.Image, convert: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
) -> npt.NDArray[Any]:
    """Return the array of an image, converted strip by strip."""
    out, top = None, 0
    for part in map(convert, _strips(image)):
        if out is None:
            out = np.empty((image.height, *part.shape[1:]), part.dtype)
        out[top : top + len(part)] = part
        top += len(part)
    return np.asarray(image) if out is None else out


def upper_bits(grey: npt.NDArray[Any], largest: float) -> npt.NDArray[Any]:
    """Any grey values -> uint8. Integers above 255 are 16-bit values, floats up to 1 fractions.

    largest: value of the image that these are of.
    """
    if grey.dtype.kind == "f":
        grey = np.nan_to_num(grey)
        grey = grey * 255 if largest <= 1 else grey
    elif grey.dtype.itemsize == 2 or largest > 255:
        grey = grey >> 8
    return grey.clip(0, 255).astype(np.uint8)


def _with_opacity(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return RGB with a fourth channel, all opaque, as stb_image yields it."""
    if array.shape[2:] == (4,):
        return array
    colours = array if array.ndim == 3 else array[..., None]
    rgb = np.broadcast_to(colours, (*array.shape[:2], 3))
    return np.concatenate((rgb, np.full_like(rgb[..., :1], 255)), axis=2)
