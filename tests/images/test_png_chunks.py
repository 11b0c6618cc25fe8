"""Texts and profiles of a PNG do not stop its pixels."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from darknet_torch.errors import ImageError
from darknet_torch.images.png_chunks import pixel_chunks
from darknet_torch.images.reading import read
from darknet_torch.images.size import image_size

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def png(**options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG", **options)
    return file.getvalue()


def with_chunk(kind: bytes, content: bytes, *, check: int | None = None, last: bool = False):
    """A PNG with a chunk of a kind, before or behind the pixels."""
    whole = png()
    check = zlib.crc32(kind + content) if check is None else check
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)
    place = len(whole) - 12 if last else 33
    return whole[:place] + chunk + whole[place:]


def text(zip: bool) -> bytes:  # noqa: A002
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "x" * 3_000_000, zip=zip)
    return png(pnginfo=info)


LARGE = zlib.compress(bytes(3_000_000))
FILES = {
    "compressed text": text(zip=True),
    "many texts": with_chunk(b"tEXt", b"a\0" + bytes(66 << 20)),
    "profile": with_chunk(b"iCCP", b"sRGB\0\0" + LARGE),
    "no profile": with_chunk(b"iCCP", b"sRGB\0\0nothing"),
    "international text": with_chunk(b"iTXt", b"key\0\1\0\0\0" + LARGE),
    "text behind the pixels": with_chunk(b"zTXt", b"key\0\0" + LARGE, last=True),
    "wrong checksum of a text": with_chunk(b"tEXt", b"a\0b", check=1),
    "short resolution": with_chunk(b"pHYs", b"12"),
    "damaged EXIF": with_chunk(b"eXIf", b"nothing of the kind"),
}


@pytest.mark.parametrize("name", FILES)
def test_the_pixels_are_read(name: str, tmp_path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(FILES[name])
    expected = torch.from_numpy(PIXELS).permute(2, 0, 1)
    for source in (path, FILES[name], io.BytesIO(FILES[name])):
        assert torch.equal(read(source), expected)
    assert image_size(path) == (30, 20)


def test_the_orientation_stays() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "x" * 3_000_000, zip=True)
    assert read(png(exif=exif, pnginfo=info)).shape == (3, 30, 20)


def test_damaged_pixels_are_an_error() -> None:
    damaged = bytearray(FILES["compressed text"])
    place = damaged.index(b"IDAT") + 20
    damaged[place : place + 400] = bytes(400)
    with pytest.raises(ImageError, match=r"^<bytes>: "):
        read(bytes(damaged))


def test_what_is_left() -> None:
    rest = pixel_chunks(io.BytesIO(FILES["profile"]))
    assert rest is not None
    assert rest.read() == png()
    assert pixel_chunks(io.BytesIO(b"GIF89a")) is None
    cut = pixel_chunks(io.BytesIO(png()[:60]))
    assert cut is not None
    assert cut.read() == png()[:60]
