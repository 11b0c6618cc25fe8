"""The segments of JPEG files: without EXIF the pixels stay, and what is cut off is noticed."""

import io

import numpy as np
import pytest
from PIL import Image

from darknet_torch.images.jpeg_segments import is_whole, without_exif


def jpeg(**options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


def turned(orientation: int = 6) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(exif=exif, comment="text", progressive=True)


def test_the_pixels_stay() -> None:
    content = turned()
    bare = without_exif(content)
    assert bare is not None and b"Exif" not in bare and b"text" in bare
    before, after = Image.open(io.BytesIO(content)), Image.open(io.BytesIO(bare))
    assert before.getexif() and not after.getexif()
    assert np.array_equal(np.asarray(before), np.asarray(after))
    assert without_exif(jpeg()) == jpeg()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe1\x00",
        b"\xff\xd8\xff\xe1\x00\x01\xff\xda",  # a length below its own two bytes
        b"\xff\xd8\xff\xff\xe0\x00\x02\xff\xda\x00\x02",  # a fill byte
        b"\xff\xd8\xff\xe1\xff\xff" + bytes(9),  # ends beyond the file
        b"\xff\xd8 no marker \xff\xda\x00\x02",
    ],
)
def test_odd_segments(content: bytes) -> None:
    assert without_exif(content) is None


def test_what_is_cut_off() -> None:
    content = turned()
    assert is_whole(content) and is_whole(content + b"behind it")
    for size in (0, 3, 200, len(content) // 2, len(content) - 1):
        assert not is_whole(content[:size])
