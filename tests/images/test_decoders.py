"""JPEG decoders beside Pillow's: nearly the same pixels, and what they refuse is Pillow's."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from darknet_torch.errors import ImageError, UsageError
from darknet_torch.extras import installed
from darknet_torch.images import decoders, reading
from darknet_torch.images.decoders import check_decoder, decode, decode_on
from darknet_torch.images.plain_jpeg import plain_jpeg
from darknet_torch.images.reading import read

CPU = torch.device("cpu")
LARGEST = {"turbojpeg": 0, "torchcodec": 0}
"""Largest difference in grey levels to Pillow, which uses libjpeg-turbo as these two do."""
MODULES = {"turbojpeg": "simplejpeg", "torchcodec": "torchcodec.decoders"}
LIMIT = 1 << 20


@pytest.fixture(params=sorted(LARGEST))
def decoder(request: pytest.FixtureRequest) -> str:
    if not installed(MODULES[request.param]):
        pytest.skip(f'needs the extra "{request.param}"')
    return request.param


def pixels(height: int = 37, width: int = 53, mode: str = "RGB") -> Image.Image:
    """Smooth colours with some noise, as in a photograph."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]
    colours = np.stack((rows * 3, columns * 2, rows + columns), 2) + rng.integers(0, 99, (3,))
    noise = rng.integers(0, 40, (height, width, 3))
    return Image.fromarray(((colours + noise) % 256).astype(np.uint8)).convert(mode)


def encoded(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def with_orientation(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(pixels(), exif=exif, quality=95, subsampling=0)


PLAIN = {
    "RGB": encoded(pixels()),
    "grey": encoded(pixels(mode="L")),
    "4:4:4": encoded(pixels(), subsampling=0, quality=98),
    "4:2:2": encoded(pixels(), subsampling=1),
    "progressive": encoded(pixels(), progressive=True),
    "one pixel": encoded(pixels(1, 1)),
    "restarts": encoded(pixels(), restart_marker_blocks=2),
    **{f"orientation {n}": with_orientation(n) for n in range(10)},
}
OTHERS = {
    "CMYK": encoded(pixels(mode="CMYK")),
    "stored as RGB": encoded(pixels(), keep_rgb=True),
    "PNG": (lambda file: (pixels().save(file, "PNG"), file.getvalue())[1])(io.BytesIO()),
    "cut off": PLAIN["RGB"][:-200],
    "no image": b"no image",
    "only a beginning": b"\xff\xd8\xff\xe0",
}


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("channels", [3, 1, None])
def test_the_pixels_of_pillow(kind: str, channels: int | None, decoder, monkeypatch) -> None:
    expected = read(PLAIN[kind], channels)
    monkeypatch.setattr(reading, "file_pixels", None)  # Pillow's way
    found = read(PLAIN[kind], channels, decoder=decoder)
    assert found.shape == expected.shape and found.dtype == torch.uint8
    assert (found.int() - expected.int()).abs().max() <= LARGEST[decoder]


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("channels", [3, 1, None])
def test_what_pillow_reads(kind: str, channels: int | None, decoder: str) -> None:
    """Other kinds have Pillow's own pixels and errors."""
    assert plain_jpeg(OTHERS[kind], LIMIT) is None

    def outcome(**options: str) -> object:
        try:
            return read(OTHERS[kind], channels, **options).tolist()
        except ImageError as error:
            return str(error)

    assert outcome(decoder=decoder) == outcome()


def test_sources(tmp_path: Path, decoder: str) -> None:
    expected, path = read(PLAIN["RGB"]), tmp_path / "a.jpg"
    path.write_bytes(PLAIN["RGB"])
    array = expected.permute(1, 2, 0).numpy()
    with path.open("rb") as file:
        file.seek(7)
        for source in (path, str(path), file, bytearray(PLAIN["RGB"]), array, expected):
            assert torch.equal(read(source, decoder=decoder), expected)
    assert torch.equal(read(Image.open(path), decoder=decoder), expected)
    assert read(path, 4, decoder=decoder).shape[0] == 4
    with pytest.raises(ImageError, match="No such file"):
        read(tmp_path / "b.jpg", decoder=decoder)
    with pytest.raises(ImageError, match="53x37 pixels are more than 100"):
        read(path, decoder=decoder, max_pixels=100)


def test_a_damaged_scan(decoder: str) -> None:
    """Where a decoder refuses what Pillow reads, the pixels are Pillow's."""
    content = bytearray(PLAIN["RGB"])
    start = len(content) // 2
    content[start : start + 2] = b"\xff\xd7"
    found, expected = (read(bytes(content), **kind) for kind in ({"decoder": decoder}, {}))
    assert (found.int() - expected.int()).abs().max() <= LARGEST[decoder]


def test_too_large_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("darknet_torch.images.plain_jpeg.LARGEST", len(PLAIN["RGB"]) - 1)
    (tmp_path / "a.jpg").write_bytes(PLAIN["RGB"])
    assert plain_jpeg(PLAIN["RGB"], LIMIT) is None
    assert plain_jpeg(tmp_path / "a.jpg", LIMIT) is None


@pytest.mark.parametrize("result", [torch.zeros(3, 5, 5, dtype=torch.uint8), ValueError("bad")])
def test_a_decoder_that_refuses(result: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or has another size: the pixels are Pillow's."""

    def call(jpeg: object) -> object:
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setitem(decoders.CALLS, "turbojpeg", call)
    jpeg = plain_jpeg(PLAIN["RGB"], LIMIT)
    assert jpeg is not None and decode(jpeg, "turbojpeg") is None
    assert torch.equal(read(PLAIN["RGB"], decoder="turbojpeg"), read(PLAIN["RGB"]))


def by_pillow(contents: list[bytes], device: torch.device) -> list[torch.Tensor]:
    """In place of a graphics card, which fails for a whole batch because of one image."""
    for content in contents:
        if content == BAD:
            raise RuntimeError("nvjpeg failed")
    return [read(content) for content in contents]


BAD = PLAIN["progressive"]


def test_a_batch_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(contents: list[bytes], device: torch.device) -> list[torch.Tensor]:
        calls.append(len(contents))
        return by_pillow(contents, device)

    monkeypatch.setattr(decoders, "_nvjpeg", counted)
    good = [plain_jpeg(PLAIN[kind], LIMIT) for kind in ("RGB", "orientation 6", "grey")]
    found = decode_on(good, CPU)
    assert calls == [3]
    for image, kind in zip(found, ("RGB", "orientation 6", "grey"), strict=True):
        assert torch.equal(image, read(PLAIN[kind]))
    mixed = decode_on([good[0], plain_jpeg(BAD, LIMIT), good[1]], CPU)
    assert calls == [3, 3, 1, 1, 1]
    assert [each is None for each in mixed] == [False, True, False]
    monkeypatch.setattr(decoders, "_nvjpeg", lambda contents, _: [torch.zeros(3, 2, 2)])
    assert decode_on(good[:1], CPU) == [None]  # of another size


def test_wrong_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_decoder("pillow", CPU) == "pillow"
    with pytest.raises(UsageError, match="decoder=x: must be one of pillow, torchcodec, nvjpeg"):
        check_decoder("x", CPU)
    with pytest.raises(UsageError, match="decodes on a graphics card, and the network is on the c"):
        check_decoder("nvjpeg", CPU)
    monkeypatch.setitem(decoders.PACKAGES, "turbojpeg", "no_such_package")
    with pytest.raises(UsageError, match="no_such_package is not installed: pip install"):
        check_decoder("turbojpeg", CPU)
