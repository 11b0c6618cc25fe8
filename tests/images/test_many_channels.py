"""Images with as many channels as the network wants: PNG, TIFF, NumPy's .npy."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import darknet_torch as dt
from darknet_torch.errors import ImageError
from darknet_torch.images.many_channels import read_npy
from darknet_torch.images.reading import read
from darknet_torch.images.size import image_size


@pytest.mark.parametrize(
    ("mode", "pixel", "expected"),
    [
        ("RGB", (1, 2, 3), [1, 2, 3, 255]),
        ("RGBA", (1, 2, 3, 4), [1, 2, 3, 4]),
        ("L", 9, [9, 9, 9, 255]),
        ("LA", (9, 5), [9, 9, 9, 5]),
    ],
)
def test_a_file_for_four_channels(mode, pixel, expected: list[int]) -> None:
    """As stb_image reads it for Darknet: RGB and opacity."""
    content = io.BytesIO()
    Image.new(mode, (3, 2), pixel).save(content, "PNG")
    image = read(content.getvalue(), 4)
    assert image.shape == (4, 2, 3)
    assert image[:, 0, 0].tolist() == expected
    with pytest.raises(ImageError, match=r"3 channels .*, 4 expected"):
        read(np.zeros((2, 3, 3), np.uint8), 4)


def noise(channels: int, dtype: str = "u1") -> np.ndarray:
    shape = (6, 9, channels) if channels else (6, 9)
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


def same(image: torch.Tensor, array: np.ndarray) -> bool:
    return np.array_equal(image.permute(1, 2, 0).numpy(), array)


@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
def test_transparency_is_a_channel_for_those_who_count_it(ending: str, tmp_path) -> None:
    path, array = tmp_path / f"a.{ending}", noise(4)
    Image.fromarray(array).save(
        path, **({"lossless": True, "exact": True} if "w" in ending else {})
    )
    assert same(read(path, 4), array)
    assert same(read(path), array[..., :3])
    assert read(path, 1).shape == (1, 6, 9)
    with pytest.raises(ImageError, match=r"channels .*, 5 expected"):
        read(path, 5)


def test_grey_with_transparency_has_two(tmp_path) -> None:
    array = noise(2)
    Image.fromarray(array).save(tmp_path / "a.png")
    assert same(read(tmp_path / "a.png", 2), array)
    assert same(read(tmp_path / "a.png", 1), array[..., :1])


@pytest.mark.parametrize("channels", [0, 1, 2, 3, 4, 5, 12])
@pytest.mark.parametrize("dtype", ["u1", "<f4", ">f8"])
def test_npy(channels: int, dtype: str, tmp_path) -> None:
    path, array = tmp_path / "a.npy", noise(channels, dtype)
    np.save(path, array)
    for source in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
        loaded = read(source, channels or 1)
        assert loaded.dtype == (torch.uint8 if dtype == "u1" else torch.float32)
        assert torch.equal(loaded, read(array, channels or 1))
    assert image_size(path) == (9, 6)
    np.save(path, np.asfortranarray(array))
    assert torch.equal(read(path, channels or 1), read(array, channels or 1))


def header(descr: str, shape: str) -> bytes:
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header("|u1", "(9, 9, 3)") + bytes(242), "shorter than its header says"),
        (header("|u1", "(9000, 9000, 1000)"), "9000x9000 pixels of 1000 bytes are more than"),
        (header("|u1", "(9000, 9000, 4)"), "shorter than its header says"),
        (header("|u1", "(1, 1, 10**15)"), "a.npy: "),
        (header("|u1", "(1, 1, 1000000)"), "1000000 channels; at most 1024"),
        (header("|u1", "(90000, 90000)"), "90000x90000 pixels are more than"),
        (header("|u1", "(9, -9, 3)"), r"an array \[9, -9, 3\]"),
        (header("|u1", "()"), r"an array \[\] of uint8; \(H, W, C\)"),
        (header("|O", "(1, 1, 3)") + bytes(99), "of object"),
        (header("<i8", "(1, 1, 3)") + bytes(99), "of int64"),
        (b"\x93NUMPY\1\0", "a.npy: "),
        (b"\x93NUMPY\7\0" + bytes(99), "a.npy: "),
    ],
)
def test_npy_that_is_no_image(content: bytes, message: str, tmp_path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_npy_of_a_file_that_goes_on(tmp_path) -> None:
    """Values behind the array are another's."""
    path = tmp_path / "a.npy"
    np.save(path, noise(3))
    path.write_bytes(path.read_bytes() + b"more")
    assert np.array_equal(read_npy(path, 0), noise(3))


@pytest.mark.parametrize("layout", ["contig", "separate", "pages"])
@pytest.mark.parametrize("channels", [2, 4, 5, 12])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_tiff(layout: str, channels: int, dtype: str, tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    array = noise(channels, dtype) * (257 if dtype == "u2" else 1)
    planes, settings = array, {"photometric": "minisblack"}
    if layout == "contig":
        settings["planarconfig"] = layout
    else:
        planes = array.transpose(2, 0, 1)
        settings |= {"planarconfig": layout} if layout == "separate" else {}
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, planes, **settings)
    expected = noise(channels)  # of 16 bits the upper 8
    assert same(read(path, channels), expected)
    assert same(read(path.read_bytes(), channels), expected)
    assert image_size(path) == (9, 6)


def test_tiff_without_the_package(tmp_path, monkeypatch) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", noise(5), photometric="minisblack", planarconfig="contig")
    with pytest.raises(ImageError, match=r"5 channels .*, 3 expected"):
        read(tmp_path / "a.tif")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ImageError, match=r'a\.tif: tifffile .*: pip install "?tifffile'):
        read(tmp_path / "a.tif", 5)


@pytest.mark.parametrize(("channels", "ending"), [(4, "png"), (4, "npy"), (5, "npy"), (2, "png")])
def test_files_and_arrays_give_the_same_detections(channels: int, ending: str, tmp_path) -> None:
    cfg = f"[net]\nwidth=32\nheight=32\nchannels={channels}\n[convolutional]\nfilters=7\nsize=4\n"
    cfg += "stride=4\nactivation=linear\n[yolo]\nmask=0\nanchors=8,8\nclasses=2\nnum=1\n"
    torch.manual_seed(0)
    network = dt.build(cfg)
    path, array = tmp_path / f"a.{ending}", noise(channels)
    np.save(path, array) if ending == "npy" else Image.fromarray(array).save(path)
    from_file = dt.detect(network, path, threshold=0.1)
    from_array = dt.detect(network, array, threshold=0.1)
    assert isinstance(from_file, dt.Detections)
    assert isinstance(from_array, dt.Detections)
    assert len(from_file) > 1
    assert torch.equal(from_file.xyxy, from_array.xyxy)
    assert from_file.draw().size == (9, 6)
