"""JPEG files that every decoder reads in the same way, found by Pillow, without torch.

Pillow knows a file's format, its size before anything is decoded, and which side is up.
"""

import os
from dataclasses import dataclass
from functools import partial
from io import BytesIO, RawIOBase
from os import PathLike
from typing import TYPE_CHECKING, Any, BinaryIO

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from darknet_torch.images.jpeg_segments import is_whole, without_exif
from darknet_torch.images.size import must_be_plain, orientation_of, use_image

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Jpeg", "plain_jpeg"]

JPEG = b"\xff\xd8\xff"
LARGEST = 64 << 20
"""Bytes of a JPEG file that is read as a whole."""
RGB_NAMES = [ord(each) for each in "RGB"]
"""Names of the components of a JPEG that is not stored as YCbCr."""
TURNING = {"exif", "xmp"}
"""Parts of a JPEG that may say which side is up."""
FLIPS = {1: (3, 4, 7, 8), 2: (2, 3, 6, 7)}
"""Dimension of (C, H, W) -> the orientations that flip it, after those from 5 on transpose."""


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

    def upright(self, image: "Tensor") -> "Tensor":
        """Turn the decoded image (C, H, W) as the orientation says."""
        if self.orientation >= 5:
            image = image.transpose(1, 2)
        sides = [side for side, orientations in FLIPS.items() if self.orientation in orientations]
        return image.flip(sides) if sides else image


def plain_jpeg(source: Any, limit: int) -> Jpeg | None:
    """Return a JPEG file for another decoder; None where it is for Pillow to read, or to refuse.

    Args:
        source: what `reading.read` takes; others than files are None.
        limit: most pixels, see `limits.pixel_limit`.
    """
    try:
        content = _content(source)
        if content is None:
            return None
        return use_image(BytesIO(content), partial(_plain, content=content), limit)
    except Exception:  # nearly anything, of a damaged file: Pillow says what is wrong when it reads
        return None


def _content(source: Any) -> bytes | None:
    """Return the bytes of a JPEG file; None of a very large one, and of what is something else."""
    if isinstance(source, str | PathLike):
        must_be_plain(source)
        with open(source, "rb", buffering=0) as file:  # noqa: PTH123 (a Path takes its time)
            return _of_file(file, os.fstat(file.fileno()).st_size)
    if isinstance(source, bytes | bytearray):
        return _of_file(BytesIO(source), len(source))
    return _of_file(source, source.seek(0, os.SEEK_END)) if hasattr(source, "read") else None


def _of_file(file: BinaryIO | RawIOBase, size: int) -> bytes | None:
    file.seek(0)
    if file.read(len(JPEG)) != JPEG or size > LARGEST:
        return None
    file.seek(0)
    return file.read()


def _plain(image: Image.Image, content: bytes) -> Jpeg | None:
    if not isinstance(image, JpegImageFile) or image.format != "JPEG":  # MPO is several images
        return None
    names = [layer[0] for layer in image.layer]
    is_stored_as_rgb = image.info.get("adobe_transform") == 0 or names == RGB_NAMES
    bare = without_exif(content) if is_whole(content) else None
    if image.mode not in ("L", "RGB") or is_stored_as_rgb or bare is None:
        return None
    orientation = orientation_of(image.getexif) if TURNING & image.info.keys() else 1
    known = orientation if orientation in range(2, 9) else 1
    return Jpeg(bare, image.width, image.height, known)
