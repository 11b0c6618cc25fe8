"""What the source of a video stands for."""

import pytest

from darknet_torch.errors import DownloadError, ImageError, UsageError
from darknet_torch.inference.sources import STREAMS
from darknet_torch.videos import places
from darknet_torch.videos.places import place_of, seconds_of


def test_images_know_the_schemes_of_streams() -> None:
    assert set(places.PROTOCOLS) == {*STREAMS, "http", "https"}


@pytest.fixture
def linux(monkeypatch) -> None:
    monkeypatch.setattr(places.sys, "platform", "linux")


@pytest.mark.parametrize("source", [2, "2", "/dev/video2"])
def test_cameras(source, linux, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = place_of(source)
    assert (place.kind, place.address, place.format) == ("camera", "/dev/video2", "v4l2")
    assert place.name == "camera 2"


def test_cameras_of_other_systems(monkeypatch) -> None:
    monkeypatch.setattr(places.sys, "platform", "darwin")
    assert place_of(0).format == "avfoundation"
    monkeypatch.setattr(places.sys, "platform", "win32")
    with pytest.raises(ImageError, match="camera 0: cameras of Windows"):
        place_of(0)


def test_files_and_folders(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "7").mkdir()
    (tmp_path / "http:--x.mp4").touch()
    assert place_of("7").kind == "folder"
    place = place_of(tmp_path / "http:--x.mp4")
    assert place.kind == "file"
    assert place.address.startswith("file:/")
    assert place.options == {"protocol_whitelist": "file"}
    for absent in ("no.mp4", "a\0b", ""):
        with pytest.raises(ImageError, match="no such file, folder or camera"):
            place_of(absent)


def test_streams() -> None:
    place = place_of("rtsp://me:secret@camera/live")
    assert place.kind == "stream"
    assert place.name == "rtsp://***@camera/live"
    assert place.address == "rtsp://me:secret@camera/live"
    assert place.options["rtsp_transport"] == "tcp"
    assert "file" not in place_of("https://a/b.m3u8").options["protocol_whitelist"]
    with pytest.raises(ImageError, match="addresses begin with http, https, rtsp"):
        place_of("concat://a|b")


def test_nothing_is_fetched_offline(monkeypatch) -> None:
    monkeypatch.setenv("DARKNET_TORCH_OFFLINE", "1")
    with pytest.raises(DownloadError, match="offline"):
        place_of("rtsp://camera/live")


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), (1.5, 1.5), ("90.25", 90.25), ("1:30", 90), ("2:00:01", 7201)]
)
def test_times(text, seconds) -> None:
    assert seconds_of(text, "start") == seconds


@pytest.mark.parametrize("text", ["", "-1", "1:2:3:4", "nan", "1e9", "x", "1:", " 1"])
def test_what_is_no_time(text) -> None:
    with pytest.raises(UsageError, match=r"start=.*: must be seconds"):
        seconds_of(text, "start")
