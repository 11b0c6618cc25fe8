"""Images of any number of channels: NumPy's .npy, and TIFF with more channels than Pillow reads."""

import math
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from darknet_torch.errors import ImageError
from darknet_torch.extras import require
from darknet_torch.images.limits import check_bytes, check_pixels

__all__ = ["NPY", "TIFF", "FileOrPath", "npy_size", "read_npy", "read_tiff", "tiff_size"]

NPY = b"\x93NUMPY"
"""How a .npy file begins."""
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How a TIFF file begins."""
MOST_CHANNELS = 1024
FileOrPath = str | PathLike[str] | BinaryIO
"""A path, or a file that is open for reading."""
Array = npt.NDArray[Any]


def read_npy(source: FileOrPath, limit: int) -> Array:
    """Return the array (H, W, C) or (H, W) of a .npy file.

    Args:
        source: a path or an open file.
        limit: most pixels, 0 is no limit.

    Raises:
        ImageError: no image, too many pixels, or the file is shorter than its header says.
    """
    if isinstance(source, str | PathLike):
        with Path(source).open("rb") as file:
            return read_npy(file, limit)
    shape, fortran_order, dtype = _npy_header(source, limit)
    count, position = math.prod(shape), source.tell()
    if source.seek(0, 2) - position < count * dtype.itemsize:
        raise ImageError("the file is shorter than its header says")
    source.seek(position)
    values = np.frombuffer(source.read(count * dtype.itemsize), dtype)
    return values.reshape(shape, order="F" if fortran_order else "C")


def npy_size(source: FileOrPath, limit: int) -> tuple[int, int]:
    """Return (width, height) of a .npy file, from its header; errors as `read_npy`."""
    if isinstance(source, str | PathLike):
        with Path(source).open("rb") as file:
            return npy_size(file, limit)
    (height, width, *_), _, _ = _npy_header(source, limit)
    return width, height


def _npy_header(file: BinaryIO, limit: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether it is in Fortran's order, and type, of an array that is an image."""
    file.seek(0)
    known = {(1, 0): np.lib.format.read_array_header_1_0}
    known[2, 0] = np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = known[np.lib.format.read_magic(file)](file)
    if len(shape) not in (2, 3) or min(shape) < 1 or dtype.kind not in "uf":
        what = f"an array {list(shape)} of {dtype}"
        raise ImageError(f"{what}; (H, W, C) of uint8 or float expected")
    _check(shape[1], shape[0], math.prod(shape[2:]), dtype, limit)
    return shape, fortran_order, dtype


def read_tiff(source: FileOrPath, limit: int) -> Array:
    """Return the array (H, W, C) or (H, W) of a TIFF, whose pages may be its channels.

    Args:
        source: a path or an open file.
        limit: most pixels, 0 is no limit.

    Raises:
        ImageError: no image, or too many pixels.
        UsageError: the package tifffile is not installed.
    """
    with _open_tiff(source) as file:
        images = file.series[0]
        _tiff_sides(images, limit)
        array: Array = images.asarray()
        return np.moveaxis(array, [images.axes.index(axis) for axis in "YX"], [0, 1])


def tiff_size(source: FileOrPath, limit: int) -> tuple[int, int]:
    """Return (width, height) of a TIFF, from its header; errors as `read_tiff`."""
    with _open_tiff(source) as file:
        return _tiff_sides(file.series[0], limit)


def _open_tiff(source: FileOrPath) -> Any:
    if not isinstance(source, str | PathLike):
        source.seek(0)
    return require("tifffile", "tiff").TiffFile(source)


def _tiff_sides(images: Any, limit: int) -> tuple[int, int]:
    """Return width and height of a tifffile.TiffPageSeries that is one image."""
    sides = dict(zip(images.axes, images.shape, strict=True))
    others = [axis for axis in images.axes if axis not in "YX"]
    if not {"Y", "X"} <= sides.keys() or len(others) > 1:
        raise ImageError(f"a TIFF of {images.axes} {list(images.shape)}; no single image")
    _check(sides["X"], sides["Y"], sides.get("".join(others), 1), images.dtype, limit)
    return sides["X"], sides["Y"]


def _check(width: int, height: int, channels: int, dtype: np.dtype[Any], limit: int) -> None:
    check_pixels(width, height, limit)
    check_bytes(width, height, channels * dtype.itemsize, limit)
    if channels > MOST_CHANNELS:
        raise ImageError(f"{channels} channels; at most {MOST_CHANNELS} are read")
