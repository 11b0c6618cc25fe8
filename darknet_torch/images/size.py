"""Image files: opened, their size without decoding, and their EXIF orientation."""

import errno
import os
import stat
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image, UnidentifiedImageError

from darknet_torch.errors import DataError, ImageError
from darknet_torch.extras import installed, not_installed, require
from darknet_torch.images.limits import check_pixels, pillow_takes, pixel_limit, too_many
from darknet_torch.images.many_channels import NPY, TIFF, FileOrPath, npy_size, tiff_size
from darknet_torch.images.png_chunks import pixel_chunks
from darknet_torch.safety.foreign_files import HEIF_IMAGE, known_kind
from darknet_torch.safety.text import first_line

__all__ = [
    "ABSENT",
    "PIXEL_FORMATS",
    "first_bytes",
    "image_size",
    "must_be_plain",
    "open_image",
    "orientation_of",
    "reason",
    "upright",
    "use_image",
]

T = TypeVar("T")
START = 32
"""Bytes that tell what a file is."""
ABSENT = (FileNotFoundError, NotADirectoryError)
PIXEL_FORMATS = (
    *("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF", "MPO", "HEIF", "AVIF", "JPEG2000"),
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


def use_image(source: FileOrPath, use: Callable[[Image.Image], T], limit: int) -> T:
    """Open an image file and return what a function makes of it.

    A PNG that Pillow refuses is tried again without the chunks that its pixels do not need.

    Args:
        source: a path or an open file.
        use: takes the open image, whose pixels are not decoded yet.
        limit: see `pixel_limit`.

    Raises:
        ImageError: too many pixels.
        Exception: whatever Pillow raises for a damaged file.
    """
    must_be_plain(source)
    with pillow_takes(limit):
        try:
            with open_image(source, limit) as image:
                return use(image)
        except (ImageError, *ABSENT):
            raise
        except Exception:  # a damaged file makes a decoder raise nearly anything
            rest = _pixel_chunks(source)
            if rest is None:
                raise
        with open_image(rest, limit) as image:
            return use(image)


def open_image(source: FileOrPath, limit: int) -> Image.Image:
    """Open an image file of one of `PIXEL_FORMATS`; its pixels are not decoded yet.

    Raises:
        UnidentifiedImageError: of another format, or no image.
        ImageError: too many pixels; a file of another kind, such as a web page; or HEIF, and what
            reads that is not installed.
    """
    Image.init()  # else Pillow does not know which formats it has
    try:
        image = _opened(source)
    except UnidentifiedImageError as error:
        image = _opened_as_another_kind(source, error)
    try:
        check_pixels(*image.size, limit)
    except ImageError:
        image.close()
        raise
    return image


def _opened(source: FileOrPath) -> Image.Image:
    return Image.open(source, formats=[each for each in PIXEL_FORMATS if each in Image.OPEN])


def _opened_as_another_kind(source: FileOrPath, error: UnidentifiedImageError) -> Image.Image:
    """Open HEIF, which Pillow reads once its package is registered; say what other files are."""
    kind = known_kind(first_bytes(source))
    if kind == HEIF_IMAGE and "HEIF" not in Image.OPEN:
        if not installed("pillow_heif"):
            raise ImageError(f"{kind}: {not_installed('pillow_heif', 'heif')}") from error
        require("pillow_heif", "heif").register_heif_opener()
        return _opened(source)
    if kind in (None, HEIF_IMAGE):
        raise error
    raise ImageError(f"is no image, but {kind}") from error


def first_bytes(source: FileOrPath) -> bytes:
    """Return the first bytes of a file, by which Pillow knows its format.

    Raises:
        OSError: it cannot be read, or is a pipe or a device.
    """
    must_be_plain(source)
    if isinstance(source, str | os.PathLike):
        with Path(source).open("rb") as file:
            return file.read(START)
    source.seek(0)
    return source.read(START)


def must_be_plain(source: FileOrPath) -> None:
    """Refuse what may never end, or never begin: a pipe that nobody writes to is waited for."""
    if isinstance(source, str | os.PathLike):
        mode = os.stat(source).st_mode  # noqa: PTH116 (a Path takes its time)
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise OSError(errno.EINVAL, "is no plain file", os.fspath(source))


def _pixel_chunks(source: FileOrPath) -> BytesIO | None:
    if isinstance(source, str | os.PathLike):
        with Path(source).open("rb") as file:
            return pixel_chunks(file)
    return pixel_chunks(source)


def upright(image: Image.Image) -> Image.Image:
    """Turn a loaded image as its EXIF orientation says."""
    orientation = orientation_of(image.getexif)
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def orientation_of(exif: Callable[[], Image.Exif]) -> Any:
    """Return the orientation in an image's EXIF; None where there is none, or it is damaged."""
    try:
        return exif().get(ORIENTATION)
    except Exception:  # a damaged one makes its reader raise nearly anything
        return None


def image_size(path: Path, max_pixels: int | None = None) -> tuple[int, int]:
    """Return (width, height) in pixels, from the header, upright as the EXIF orientation says.

    Args:
        path: an image file.
        max_pixels: see `pixel_limit`.

    Raises:
        FileNotFoundError, NotADirectoryError: no such file (ABSENT).
        DataError: damaged, or too many pixels.
    """
    limit = pixel_limit(max_pixels)
    try:
        width, height, sideways = _upright_size(path, limit)
    except ABSENT:
        raise
    except Exception as error:  # a damaged file makes a decoder raise nearly anything
        raise DataError(reason(error)) from error
    return (height, width) if sideways else (width, height)


def _upright_size(path: Path, limit: int) -> tuple[int, int, bool]:
    start = first_bytes(path)
    if start.startswith(NPY):
        return *npy_size(path, limit), False
    try:
        return use_image(path, _header, limit)
    except UnidentifiedImageError:
        if not start.startswith(TIFF):
            raise
        return *tiff_size(path, limit), False


def _header(image: Image.Image) -> tuple[int, int, bool]:
    """Return width, height, and whether the EXIF orientation exchanges them."""
    # Image's own method: that of PNG decodes all pixels to look behind them
    sideways = orientation_of(partial(Image.Image.getexif, image)) in SIDEWAYS
    # Pillow has turned a TIFF already
    return *image.size, sideways and image.format != "TIFF"


def reason(error: Exception) -> str:
    """Return the reason why an image could not be read, on one line."""
    if isinstance(error, UnidentifiedImageError):
        return "empty, or not an image that Pillow can read"
    if isinstance(error, Image.DecompressionBombError):  # of twice Pillow's own limit
        return too_many("its pixels", pixel_limit())
    return getattr(error, "strerror", None) or first_line(error)
