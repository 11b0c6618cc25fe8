"""Read images as tensors: files, bytes, PIL images, arrays.

image = read("dog.jpg")                            # uint8 (3, 576, 768)
"""

import os
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from darknet_torch.errors import DataError, ImageError, UsageError, warn
from darknet_torch.images.decoders import CALLS, DecoderName, decode
from darknet_torch.images.limits import pixel_limit
from darknet_torch.images.pixels import file_pixels, image_pixels, upper_bits
from darknet_torch.images.plain_jpeg import plain_jpeg
from darknet_torch.images.size import ABSENT, reason

__all__ = ["ImageSource", "read"]

_MOST = 2.0
"""Largest value of an image in 0..1; brightened ones may be a little above 1."""

ImageSource = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | BinaryIO
    | Image.Image
    | npt.NDArray[Any]
    | torch.Tensor
)
"""A path, the bytes of a file, an open binary file, a PIL image, an array or a tensor."""


def read(
    source: ImageSource,
    channels: int | None = 3,
    *,
    max_pixels: int | None = None,
    decoder: DecoderName = "pillow",
) -> torch.Tensor:
    """Read an image.

    Images are turned as their EXIF orientation says, transparency is dropped (unless `channels`
    counts it), of 16 bits the upper 8 are kept, of an animation the first frame.

    Args:
        source: a path, the bytes of a file, an open binary file, a PIL image, a NumPy array
            (H, W, C) or (H, W), or a tensor (C, H, W).
        channels: 3 for RGB, or 1 for the grey of stb_image, (77 R + 150 G + 29 B) / 256; 4 for RGB
            and opacity, full where a file has none, as of stb_image; other numbers must be those
            of the source, as of a TIFF or a .npy of (H, W, C); None is RGB, or the source's number
            if no image program reads it as RGB.
        max_pixels: most pixels of a file; 0 is no limit; None is the variable
            DARKNET_TORCH_MAX_PIXELS, or else `PIL.Image.MAX_IMAGE_PIXELS`.
        decoder: of JPEG files, where they are plain: "pillow", "torchcodec" or "turbojpeg".

    Returns:
        (channels, H, W) uint8; float32 of a float array or tensor in 0..1.

    Raises:
        ImageError: no such file, not an image, damaged, empty, or too many pixels.
        UsageError: `source` is something else.
    """
    name = _name(source)
    if isinstance(source, torch.Tensor):
        image = _from_tensor(source, name)
    elif isinstance(source, np.ndarray):
        image = _from_array(source, name)
        if channels is not None and _is_channels_first(source, channels):
            shape = f"{source.shape}, whose channels come first"
            raise ImageError(f"{name}: {shape}; (H, W, C) expected: array.transpose(1, 2, 0)")
    else:
        image = _from_file(source, name, channels, pixel_limit(max_pixels), decoder)
    if image.numel() == 0:
        raise ImageError(f"{name}: an image without pixels: {list(image.shape)}")
    if image.is_floating_point():
        _check_range(image, name)
    return image if channels is None else _with_channels(image, channels, name)


def _name(source: ImageSource) -> str:
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    name = getattr(source, "filename", None) or getattr(source, "name", None)
    return name if isinstance(name, str) and name else f"<{type(source).__name__}>"


def _from_file(
    source: Any, name: str, channels: int | None, limit: int, decoder: DecoderName
) -> torch.Tensor:
    known = isinstance(source, str | os.PathLike | bytes | bytearray | Image.Image)
    if not known and not hasattr(source, "read"):
        hint = " (cv2.imread returns it for a file that it cannot read)" if source is None else ""
        kinds = "a path, bytes, file, PIL image, array or tensor"
        raise UsageError(f"an image is {kinds}, not {name}{hint}")
    try:
        if decoder in CALLS and channels in (None, 1, 3):
            jpeg = plain_jpeg(source, limit)
            if jpeg is not None and (image := decode(jpeg, decoder)) is not None:
                return image
        if isinstance(source, Image.Image):
            return _from_array(image_pixels(source, channels), name, own=True)
        file = BytesIO(source) if isinstance(source, bytes | bytearray) else source
        return _from_array(file_pixels(file, channels, limit), name, own=True)
    except Exception as error:  # a damaged file makes a decoder raise nearly anything
        raise ImageError(f"{name}: {reason(error)}") from error


def _from_array(array: npt.NDArray[Any], name: str, *, own: bool = False) -> torch.Tensor:
    """Return the tensor of an array; `own`: nobody else has it."""
    if array.ndim == 2:
        array = array[:, :, None]
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        array = upper_bits(array, 0)
    # Copied: the source may be read-only, run backwards, or change later.
    if array.ndim == 3 and array.dtype.kind == "f":
        return torch.from_numpy(array.astype(np.float32, order="C")).permute(2, 0, 1)
    if array.ndim == 3 and array.dtype == np.uint8:
        mine = own and array.flags.writeable and array.flags.c_contiguous
        return torch.from_numpy(array if mine else array.copy()).permute(2, 0, 1)
    what = f"an array {list(array.shape)} of {array.dtype}"
    more = "; several images are a list of them" if array.ndim == 4 else ""
    raise ImageError(f"{name}: {what}; (H, W, C) of uint8 or float expected{more}")


def _is_channels_first(array: npt.NDArray[Any], channels: int) -> bool:
    return array.ndim == 3 and array.shape[0] == channels != array.shape[2] and array.shape[2] > 4


def _check_range(image: torch.Tensor, name: str) -> None:
    """Warn of floats that are hardly 0..1: grey levels, or what was divided by 255 twice."""
    largest = float(image.nan_to_num().max())
    if largest > _MOST:
        what = "as uint8, or divided by 255"
    elif 0 < largest < 1.5 / 255:
        what = "not divided by 255 twice"
    else:
        return
    warn(f"{name}: values up to {largest:.3g}; floats are from 0 to 1: give the image {what}")


def _from_tensor(image: torch.Tensor, name: str) -> torch.Tensor:
    if image.ndim == 2:
        image = image[None]
    if image.ndim == 3 and image.dtype == torch.uint8:
        return image
    if image.ndim == 3 and image.is_floating_point():
        return image.float()
    what = f"a tensor {list(image.shape)} of {image.dtype}"
    raise ImageError(f"{name}: {what}; (C, H, W) of uint8 or float expected")


def _with_channels(image: torch.Tensor, channels: int, name: str) -> torch.Tensor:
    if image.shape[0] == channels:
        return image
    colours = image[:-1] if image.shape[0] in (2, 4) else image  # without the transparency
    if colours.shape[0] == 1:
        return colours.repeat(channels, 1, 1)
    if colours.shape[0] == 3 and channels == 1:
        return _grey(colours)
    raise ImageError(f"{name}: {image.shape[0]} channels (shape C, H, W), {channels} expected")


def _grey(image: torch.Tensor) -> torch.Tensor:
    red, green, blue = image if image.is_floating_point() else image.int()
    grey: torch.Tensor = 77 * red + 150 * green + 29 * blue
    return (grey / 256 if image.is_floating_point() else (grey >> 8).to(torch.uint8))[None]


def decoded_size(path: Path, max_pixels: int | None = None) -> tuple[int, int]:
    """Return (width, height) in pixels after decoding the whole file; errors as `image_size`."""
    try:
        shape = read(path, None, max_pixels=max_pixels).shape
    except ImageError as error:
        if isinstance(error.__cause__, ABSENT):
            raise error.__cause__ from error
        raise DataError(str(error).removeprefix(f"{path}: ")) from error
    return shape[2], shape[1]
