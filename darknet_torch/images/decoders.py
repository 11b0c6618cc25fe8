"""Decoders of JPEG files beside Pillow's, for speed; their pixels may differ by some grey levels.

Pillow opens every file: it knows its format, its size before anything is decoded, and which side is
up. Only the content of a plain JPEG goes to another decoder, and what that refuses to Pillow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor

from darknet_torch.errors import UsageError
from darknet_torch.extras import require
from darknet_torch.images.jpeg_segments import is_whole, without_exif
from darknet_torch.images.size import first_bytes, orientation_of, use_image

__all__ = [
    "DECODERS",
    "DecoderName",
    "Jpeg",
    "check_decoder",
    "decode",
    "decode_on",
    "decoder_setting",
    "plain_jpeg",
]

DecoderName = Literal["pillow", "torchcodec", "nvjpeg", "turbojpeg"]
DECODERS = get_args(DecoderName)
PACKAGES = {"torchcodec": "torchcodec", "nvjpeg": "torchcodec", "turbojpeg": "simplejpeg"}
"""The package of each decoder, whose extra bears the decoder's name."""
JPEG = b"\xff\xd8\xff"
LARGEST = 64 << 20
"""Bytes of a JPEG file that is read as a whole."""
RGB_NAMES = [ord(each) for each in "RGB"]
"""Names of the components of a JPEG that is not stored as YCbCr."""


@dataclass(frozen=True)
class Jpeg:
    """A JPEG file that every decoder reads in the same way: 8 bits, grey or YCbCr.

    Args:
        content: without the EXIF data, so that no decoder turns it.
        width: as it is stored, in pixels.
        height: as it is stored.
        orientation: of its EXIF data; 1 is upright.
    """

    content: bytes
    width: int
    height: int
    orientation: int

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height in pixels after it has been turned."""
        size = self.width, self.height
        return size if self.orientation < 5 else size[::-1]

    def upright(self, image: Tensor) -> Tensor:
        """Turn the decoded image (C, H, W) as the orientation says."""
        if self.orientation >= 5:
            image = image.transpose(1, 2)
        sides = [side for side, orientations in FLIPS.items() if self.orientation in orientations]
        return image.flip(sides) if sides else image


FLIPS = {1: (3, 4, 7, 8), 2: (2, 3, 6, 7)}
"""Dimension of (C, H, W) -> the orientations that flip it, after those from 5 on transpose."""


def check_decoder(decoder: DecoderName, device: torch.device) -> DecoderName:
    """Return a decoder.

    Args:
        decoder: its name.
        device: where the network computes.

    Raises:
        UsageError: there is no such decoder, its package is not installed, or it needs a graphics
            card.
    """
    if decoder not in DECODERS:
        raise UsageError(f"decoder={decoder}: must be one of {', '.join(DECODERS)}")
    if decoder == "nvjpeg" and device.type != "cuda":
        raise UsageError(
            f"decoder=nvjpeg: decodes on a graphics card, and the network is on the {device.type}"
        )
    if decoder in PACKAGES:
        require(PACKAGES[decoder], decoder)
    return decoder


def decoder_setting(decoder: DecoderName) -> str:
    """Return the text of a decoder among the settings that results depend on; "" of Pillow."""
    return "" if decoder == "pillow" else f" {decoder}"


def plain_jpeg(source: Any, limit: int) -> Jpeg | None:
    """Return a JPEG file for another decoder; None where it is for Pillow to read, or to refuse.

    Args:
        source: what `reading.read` takes; others than files are None.
        limit: most pixels, see `limits.pixel_limit`.
    """
    file = BytesIO(source) if isinstance(source, bytes | bytearray) else source
    if isinstance(file, Image.Image | Tensor | np.ndarray):
        return None
    try:
        if not first_bytes(file).startswith(JPEG) or not (content := _content(file)):
            return None
        return use_image(file, partial(_plain, content=content), limit)
    except Exception:  # nearly anything, of a damaged file: Pillow says what is wrong when it reads
        return None


def _content(file: Any) -> bytes | None:
    """Return the bytes of a file; None of a very large one."""
    if isinstance(file, str | PathLike):
        path = Path(file)
        return path.read_bytes() if path.stat().st_size <= LARGEST else None
    file.seek(0)
    content: bytes = file.read(LARGEST + 1)
    return content if len(content) <= LARGEST else None


def _plain(image: Image.Image, content: bytes) -> Jpeg | None:
    if not isinstance(image, JpegImageFile) or image.format != "JPEG":  # MPO is several images
        return None
    names = [layer[0] for layer in image.layer]
    is_stored_as_rgb = image.info.get("adobe_transform") == 0 or names == RGB_NAMES
    bare = without_exif(content) if is_whole(content) else None
    if image.mode not in ("L", "RGB") or is_stored_as_rgb or bare is None:
        return None
    orientation = orientation_of(image.getexif)
    known = orientation if orientation in range(2, 9) else 1
    return Jpeg(bare, image.width, image.height, known)


def decode(jpeg: Jpeg, decoder: DecoderName) -> Tensor | None:
    """Return the pixels of a JPEG, upright; None where the decoder refuses it.

    Args:
        jpeg: see `plain_jpeg`.
        decoder: "torchcodec" or "turbojpeg".

    Returns:
        (3, H, W) uint8.
    """
    try:
        image = CALLS[decoder](jpeg)
    except (ValueError, RuntimeError):  # what Pillow makes of it is the result
        return None
    if image.shape != (3, jpeg.height, jpeg.width):
        return None
    # the channels of a pixel lie together, as Pillow's
    return jpeg.upright(image).permute(1, 2, 0).contiguous().permute(2, 0, 1)


def _turbojpeg(jpeg: Jpeg) -> Tensor:
    # in memory of the size that Pillow knows: a file that says something else is refused
    out = np.empty((jpeg.height, jpeg.width, 3), np.uint8)
    require("simplejpeg", "turbojpeg").decode_jpeg(jpeg.content, "RGB", buffer=out)
    return torch.from_numpy(out).permute(2, 0, 1)


def _torchcodec(jpeg: Jpeg) -> Tensor:
    decoders = require("torchcodec.decoders", "torchcodec")
    image: Tensor = decoders.decode_jpeg(jpeg.content, mode="RGB")
    return image


CALLS: dict[str, Callable[[Jpeg], Tensor]] = {"turbojpeg": _turbojpeg, "torchcodec": _torchcodec}


def decode_on(jpegs: list[Jpeg], device: torch.device) -> list[Tensor | None]:
    """Decode the JPEGs of a batch on a graphics card, in one call.

    Args:
        jpegs: see `plain_jpeg`.
        device: a graphics card.

    Returns:
        (3, H, W) uint8 each, upright, on the device; None where the card refuses one.
    """
    try:
        images = _nvjpeg([jpeg.content for jpeg in jpegs], device)
    except (ValueError, RuntimeError):  # of one of them, and the message does not say which
        if len(jpegs) == 1:
            return [None]
        return [image for jpeg in jpegs for image in decode_on([jpeg], device)]
    return [
        jpeg.upright(image) if image.shape == (3, jpeg.height, jpeg.width) else None
        for jpeg, image in zip(jpegs, images, strict=True)
    ]


def _nvjpeg(contents: list[bytes], device: torch.device) -> list[Tensor]:
    decoders = require("torchcodec.decoders", "nvjpeg")
    images: list[Tensor] = decoders.decode_jpeg(contents, mode="RGB", device=device)
    return images
