"""The size of an image file without decoding it, and its EXIF orientation."""

import os
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from darknet_torch.errors import DataError

__all__ = [
    "ABSENT",
    "PIXEL_FORMATS",
    "check_pixels",
    "image_size",
    "open_image",
    "reason",
    "upright",
]

ABSENT = (FileNotFoundError, NotADirectoryError)
PIXEL_FORMATS = (
    *("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF", "MPO", "AVIF", "HEIF", "JPEG2000"),
    *("TGA", "PSD", "DIB", "PCX", "QOI", "SGI"),
)
"""Formats of Pillow that are read: those of pixels. For others it starts programs, such as
Ghostscript, whatever a file's ending says."""
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation -> what puts the image upright."""
SIDEWAYS = {5, 6, 7, 8}
"""Orientations that exchange width and height."""


def open_image(source: str | os.PathLike[str] | BinaryIO) -> Image.Image:
    """Open an image file of one of `PIXEL_FORMATS`; its pixels are not decoded yet.

    Raises:
        UnidentifiedImageError: of another format, or no image.
    """
    Image.init()  # else Pillow does not know which formats it has
    return Image.open(source, formats=[each for each in PIXEL_FORMATS if each in Image.OPEN])


def upright(image: Image.Image) -> Image.Image:
    """Turn a loaded image as its EXIF orientation says."""
    orientation = image.getexif().get(ORIENTATION)
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def image_size(path: Path) -> tuple[int, int]:
    """Return (width, height) in pixels, from the header, upright as the EXIF orientation says.

    Raises:
        FileNotFoundError, NotADirectoryError: no such file (ABSENT).
        DataError: damaged, or more pixels than PIL.Image.MAX_IMAGE_PIXELS.
    """
    try:
        with open_image(path) as image:
            width, height = image.size
            # Image's own method: that of PNG decodes all pixels to look behind them
            sideways = Image.Image.getexif(image).get(ORIENTATION) in SIDEWAYS
            sideways = sideways and image.format != "TIFF"  # Pillow has turned it already
        check_pixels(width, height)
    except ABSENT:
        raise
    except Exception as error:  # a damaged file makes a decoder raise nearly anything
        raise DataError(reason(error)) from error
    return (height, width) if sideways else (width, height)


def check_pixels(width: int, height: int) -> None:
    """Raise ValueError for more pixels than PIL.Image.MAX_IMAGE_PIXELS.

    Pillow itself refuses from twice the limit on, and only warns below that.
    """
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise ValueError(
            f"{width}x{height} pixels are more than PIL.Image.MAX_IMAGE_PIXELS ({limit})"
        )


def reason(error: Exception) -> str:
    """Return the reason why an image could not be read, on one line."""
    if isinstance(error, UnidentifiedImageError):
        return "empty, or not an image that Pillow can read"
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or repr(error)
