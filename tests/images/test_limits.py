"""The limit of pixels: its sources, where it holds, and how it is lifted."""

import numpy as np
import pytest
from PIL import Image

import darknet_torch as dt
from darknet_torch import data
from darknet_torch.cli import main
from darknet_torch.errors import ImageError, UsageError
from darknet_torch.images.limits import pillow_takes, pixel_limit
from darknet_torch.images.reading import read

VARIABLE = "DARKNET_TORCH_MAX_PIXELS"


def test_sources_of_the_limit(monkeypatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert pixel_limit() == Image.MAX_IMAGE_PIXELS == 89_478_485
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert pixel_limit() == 0
    monkeypatch.setenv(VARIABLE, "1000")
    assert pixel_limit() == 1000
    assert (pixel_limit(0), pixel_limit(7)) == (0, 7)
    for wrong in ("many", "-1", "1e9", "9" * 30):
        monkeypatch.setenv(VARIABLE, wrong)
        with pytest.raises(UsageError, match=r"MAX_PIXELS=.*: must be a whole number"):
            pixel_limit()
    with pytest.raises(UsageError, match="max_pixels=-1: must be at least 0"):
        pixel_limit(-1)


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif", "webp", "gif", "npy"])
def test_more_pixels_than_pillow_would_read(ending: str, tmp_path, monkeypatch) -> None:
    """Pillow refuses twice its limit itself; a limit of the caller's goes beyond that."""
    path = tmp_path / f"a.{ending}"
    if ending == "npy":
        np.save(path, np.zeros((20, 40, 3), np.uint8))
    else:
        Image.new("RGB", (40, 20)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    message = r"pixels are more than 100; --max-pixels, max_pixels= or the variable DARKNET"
    with pytest.raises(ImageError, match=message):
        read(path)
    assert data.read(path).counts["unreadable picture"] == 1
    for limit in (800, 0):
        assert read(path, max_pixels=limit).shape == (3, 20, 40)
        assert len(data.read(path, max_pixels=limit)) == 1
    monkeypatch.setenv(VARIABLE, "799")
    with pytest.raises(ImageError, match="more than 799"):
        read(path)
    monkeypatch.setenv(VARIABLE, "0")
    assert read(path).shape == (3, 20, 40)


def test_pillows_limit_is_as_it_was(monkeypatch) -> None:
    """Whoever reads beside us keeps it, but for the time of a larger image."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.delenv(VARIABLE, raising=False)
    with pillow_takes(100):
        assert Image.MAX_IMAGE_PIXELS == 100
    first, second = pillow_takes(101), pillow_takes(0)
    with first:
        second.__enter__()
    assert Image.MAX_IMAGE_PIXELS is None, "the second is still reading"
    assert pixel_limit() == 100
    second.__exit__(None, None, None)
    assert Image.MAX_IMAGE_PIXELS == 100
    with pytest.raises(ZeroDivisionError), pillow_takes(0):
        _ = 1 / 0
    assert Image.MAX_IMAGE_PIXELS == 100


def test_the_option_reaches_every_verb(small_network, tmp_path, monkeypatch, capsys) -> None:
    Image.new("RGB", (40, 20)).save("a.png")
    (tmp_path / "a.txt").write_text("0 .5 .5 1 1")
    monkeypatch.setenv(VARIABLE, "799")
    for words in ("detect net.cfg net.weights a.png", "data check --names net.names a.png"):
        assert main(words.split()) == 1
        assert "40x20 pixels are more than 799" in "".join(capsys.readouterr())
        assert main([*words.split(), "--max-pixels", "800"]) == 0
    evaluate = "evaluate net.cfg net.weights a.png --threshold 0.5"
    assert main(evaluate.split()) == 2
    assert main([*evaluate.split(), "--max-pixels", "0"]) == 0
    with pytest.raises(ImageError, match="more than 799"):
        dt.detect(small_network, "a.png")
    detections = dt.detect(small_network, "a.png", max_pixels=800)
    assert isinstance(detections, dt.Detections)
    assert detections.draw().size == (40, 20)
