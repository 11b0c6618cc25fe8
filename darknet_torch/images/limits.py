"""How many pixels an image file may have."""

import os
from contextlib import AbstractContextManager, nullcontext

from PIL import Image

from darknet_torch.errors import ImageError, UsageError
from darknet_torch.safety.process_setting import ProcessSetting

__all__ = ["check_bytes", "check_pixels", "pillow_takes", "pixel_limit", "too_many"]

BYTES = 4
"""Bytes of a pixel up to which the limit of pixels is that of memory, too: RGBA, or one float."""
VARIABLE = "DARKNET_TORCH_MAX_PIXELS"
"""Of the environment: the largest number of pixels of an image file."""


def pixel_limit(max_pixels: int | None = None) -> int:
    """Return the largest number of pixels of an image file that is read; 0 is no limit.

    A small file can unpack to gigabytes; aerial and microscope images are large themselves.

    Args:
        max_pixels: the caller's; None is that of the variable DARKNET_TORCH_MAX_PIXELS, or else of
            `PIL.Image.MAX_IMAGE_PIXELS`.

    Raises:
        UsageError: it is no number from 0 on.
    """
    if max_pixels is not None:
        if max_pixels < 0:
            raise UsageError(f"max_pixels={max_pixels}: must be at least 0, which is no limit")
        return max_pixels
    text = os.environ.get(VARIABLE)
    if text is None:
        return _pillow.value or 0
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise UsageError(f"{VARIABLE}={text}: must be a whole number; 0 is no limit")
    return int(text)


def check_pixels(width: int, height: int, limit: int) -> None:
    """Raise ImageError for more pixels than `limit`, unless that is 0."""
    if limit and width * height > limit:
        raise ImageError(too_many(f"{width}x{height} pixels", limit))


def check_bytes(width: int, height: int, pixel: int, limit: int) -> None:
    """Raise ImageError for more decoded bytes than those of `limit` pixels of four bytes each.

    Args:
        width: in pixels.
        height: in pixels.
        pixel: bytes of one pixel, in all channels.
        limit: of pixels; 0 is no limit.
    """
    size, most = width * height * pixel, limit * BYTES
    if limit and size > most:
        raise ImageError(too_many(f"{width}x{height} pixels of {pixel} bytes", limit))


def too_many(what: str, limit: int) -> str:
    """Return the message that an image is larger than the limit, and how to raise that."""
    how = f"--max-pixels, max_pixels= or the variable {VARIABLE} sets the limit"
    return f"{what} are more than {limit}; {how}"


def _set_pillows(pixels: int | None) -> None:
    Image.MAX_IMAGE_PIXELS = pixels


_pillow = ProcessSetting(lambda: Image.MAX_IMAGE_PIXELS, _set_pillows)
"""Pillow's limit, which is lifted while some thread reads a larger image.

`Image.open` and some decoders raise an error for twice that limit, whatever their caller says."""


def pillow_takes(limit: int) -> AbstractContextManager[None]:
    """Let Pillow read images of `limit` pixels, 0 is no limit, until the block ends."""
    return nullcontext() if 0 < limit <= (_pillow.value or 0) else _pillow.replaced(None)
