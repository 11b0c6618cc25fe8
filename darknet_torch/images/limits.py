"""How many pixels an image file may have."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock

from PIL import Image

from darknet_torch.errors import ImageError, UsageError

__all__ = ["check_pixels", "pillow_takes", "pixel_limit", "too_many"]

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
        return _pillow.value
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise UsageError(f"{VARIABLE}={text}: must be a whole number; 0 is no limit")
    return int(text)


def check_pixels(width: int, height: int, limit: int) -> None:
    """Raise ImageError for more pixels than `limit`, unless that is 0."""
    if limit and width * height > limit:
        raise ImageError(too_many(f"{width}x{height} pixels", limit))


def too_many(what: str, limit: int) -> str:
    """Return the message that an image has more pixels than the limit, and how to raise that."""
    how = f"--max-pixels, max_pixels= or the variable {VARIABLE} sets the limit"
    return f"{what} are more than {limit}; {how}"


class _PillowLimit:
    """Pillow's limit, one for the process, which is lifted while some thread reads a larger image.

    `Image.open` and some decoders raise an error for twice that limit, whatever their caller says.
    """

    def __init__(self) -> None:
        self.lock, self.readers, self.before = Lock(), 0, Image.MAX_IMAGE_PIXELS

    @property
    def value(self) -> int:
        """What Pillow's users have set; 0 is no limit."""
        with self.lock:
            return (self.before if self.readers else Image.MAX_IMAGE_PIXELS) or 0

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Set no limit until the block ends."""
        with self.lock:
            if not self.readers:
                self.before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self.readers += 1
        try:
            yield
        finally:
            with self.lock:
                self.readers -= 1
                if not self.readers:
                    Image.MAX_IMAGE_PIXELS = self.before


_pillow = _PillowLimit()


def pillow_takes(limit: int) -> AbstractContextManager[None]:
    """Let Pillow read images of `limit` pixels, 0 is no limit, until the block ends."""
    return nullcontext() if 0 < limit <= _pillow.value else _pillow.lifted()
