"""Frames of files, folders and streams: numbers, times, rotation, damage, gaps."""

import socket
import threading
import time
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from small_videos import draw_frame, square, write_video
from webserver import Server, serve

from darknet_torch.errors import ImageError
from darknet_torch.videos import containers, reading
from darknet_torch.videos.folders import FolderReader
from darknet_torch.videos.places import Place, place_of
from darknet_torch.videos.reading import RawFrame, Reader, Span

__all__ = ["serve"]  # the fixture `server`


def frames_of(path: Path | str, span: Span = Span(), **settings) -> list[RawFrame]:  # noqa: B008
    return list(Reader(place_of(path), span, **settings).frames())


def stamps(path: Path) -> list[float]:
    """The times of a file's frames after the first one, by PyAV alone."""
    with av.open(str(path)) as container:
        times = [float(frame.time) for frame in container.decode(video=0)]
    return [each - times[0] for each in times]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
@pytest.mark.parametrize("lengths", [(512,), (512, 2048, 256)], ids=["constant", "variable"])
def test_numbers_and_times(name: str, lengths, tmp_path: Path) -> None:
    path = tmp_path / name
    write_video(path, lengths=lengths)
    reader = Reader(place_of(path), Span())
    frames = list(reader.frames())
    assert [frame.number for frame in frames] == list(range(20))
    assert [frame.time for frame in frames] == pytest.approx(stamps(path), abs=1e-6)
    for number, frame in enumerate(frames):
        error = np.abs(frame.image.astype(int) - draw_frame(number)).mean()
        assert error < 3
    assert reader.is_finite
    if lengths == (512,):
        assert reader.rate == pytest.approx(25, rel=0.01)
        assert reader.total == pytest.approx(20, abs=1)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_spans(name: str, tmp_path: Path) -> None:
    """What is left is what a reader of all would keep, with the same numbers and times."""
    path = tmp_path / name
    write_video(path, 50, gop=12)
    everything = frames_of(path)
    for span in (Span(3), Span(1, 0.8), Span(2, 0.5, 1.5), Span(1, 0, 0.4), Span(1, 1.9)):
        wanted = [frame for frame in everything if span.has(frame.number, frame.time)]
        found = frames_of(path, span)
        assert [frame.number for frame in found] == [frame.number for frame in wanted]
        assert [f.time for f in found] == pytest.approx([f.time for f in wanted], abs=1e-6)
        assert all((a.image == b.image).all() for a, b in zip(found, wanted, strict=True))
        assert Reader(place_of(path), span).total == pytest.approx(len(wanted), abs=2)
    assert frames_of(path, Span(1, 1000.0)) == []


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_rotation(degrees: int, tmp_path: Path) -> None:
    """Degrees to the left, as PyAV says them; -90 is what telephones write that stand upright."""
    write_video(tmp_path / "a.mp4", 2, rotation=degrees)
    content = (tmp_path / "a.mp4").read_bytes()
    start = content.index(b"tkhd") + 44
    matrix = np.frombuffer(content[start : start + 20], ">i4")[[0, 1, 3, 4]] >> 16
    upright = {-90: (0, 1, -1, 0), 90: (0, -1, 1, 0), 180: (-1, 0, 0, -1)}
    assert tuple(matrix) == upright[degrees]  # QuickTime's: (x, y) -> (ax + cy, bx + dy)
    frame = frames_of(tmp_path / "a.mp4")[0]
    turned = np.rot90(draw_frame(0), degrees // 90)
    assert frame.image.shape == turned.shape
    assert np.abs(frame.image.astype(int) - turned).mean() < 3


@pytest.mark.parametrize("first", [0, 10])
def test_damaged_parts_are_passed_over(first: int, tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    write_video(path, 50, codec="mpeg4")
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        spots = [(p.pos, p.size) for p in packets[first : first + 3]]
    for place, size in spots:
        content[place + 8 : place + 4 + size] = bytes(size - 4)
    path.write_bytes(content)
    reader = Reader(place_of(path), Span())
    frames = list(reader.frames())
    assert reader.counts.broken >= 1
    assert 40 <= len(frames) < 50
    assert frames[-1].time == pytest.approx(49 / 25, abs=0.002)
    assert np.abs(frames[-1].image.astype(int) - draw_frame(49)).mean() < 5


def test_a_file_that_ends_too_early(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    write_video(path, 50)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    assert 10 < len(frames_of(path)) < 50


@pytest.mark.parametrize(
    "content",
    [b"", b"hello " * 1000, b"\0" * 5000],
)
def test_what_is_no_video(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.mp4: no video that FFmpeg can read"):
        frames_of(path)


def test_a_title_that_is_no_utf8(tmp_path: Path) -> None:
    """Cameras and old programs write names in other encodings."""
    path = tmp_path / "a.mkv"
    write_video(path, 3)
    content = path.read_bytes()
    assert b"Lavf" in content  # the name of the program that wrote it
    path.write_bytes(content.replace(b"Lavf", b"L\xe9\xff\xfe"))
    assert len(frames_of(path)) == 3


def test_a_sound_alone(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        tone = out.add_stream("aac", rate=44100, layout="mono")
        for start in range(0, 10240, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), "s16", "mono")
            frame.sample_rate, frame.pts = 44100, start
            out.mux(tone.encode(frame))
        out.mux(tone.encode(None))
    with pytest.raises(ImageError, match="no video in it"):
        frames_of(tmp_path / "a.mp4")


def test_too_many_pixels(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 2)
    assert len(frames_of(tmp_path / "a.mp4", max_pixels=160 * 120)) == 2
    with pytest.raises(ImageError, match="160x120 pixels are more than 19199; --max-pixels"):
        frames_of(tmp_path / "a.mp4", max_pixels=160 * 120 - 1)


def test_a_playlist_asks_no_other_machine(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "a.m3u8"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{server.url}/file\n")
    with pytest.raises(ImageError):
        frames_of(path)
    assert server.requests == []


def test_a_file_of_the_web(server: Server, tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4")
    server.pages["/a.mp4"] = (tmp_path / "a.mp4").read_bytes()
    reader = Reader(place_of(f"{server.url}/a.mp4"), Span())
    assert len(list(reader.frames())) == 20
    assert reader.is_finite
    with pytest.raises(ImageError, match="404"):
        frames_of(f"{server.url}/b.mp4")


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def serve_twice(port: int, content: bytes) -> None:
    """Send a stream to whoever connects, end, come back after a while, and do it once more."""
    for _ in range(2):
        with socket.create_server(("127.0.0.1", port)) as server:
            connection, _ = server.accept()
            with connection:
                connection.sendall(content)
        time.sleep(0.3)


def test_a_stream_that_breaks_off_and_comes_back(port: int, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(reading, "FIRST_PAUSE", 0.05)
    write_video(tmp_path / "a.ts", 30)
    content = (tmp_path / "a.ts").read_bytes()
    thread = threading.Thread(target=serve_twice, args=(port, content), daemon=True)
    thread.start()
    reader = _connected(f"tcp://127.0.0.1:{port}")
    frames = list(reader.frames())
    thread.join(5)
    assert [frame.number for frame in frames] == list(range(60))
    assert all(a.time < b.time for a, b in pairwise(frames))
    assert frames[29].time == pytest.approx(29 / 25, abs=1e-6)
    assert frames[59].time - frames[30].time == pytest.approx(29 / 25, abs=1e-6)
    assert reader.counts.reconnected == 1
    assert not reader.is_finite


def _connected(address: str) -> Reader:
    end = time.monotonic() + 5
    while True:
        try:
            return Reader(place_of(address), Span(), reconnect=4)
        except ImageError:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_a_camera_has_no_end() -> None:
    """A source of FFmpeg's own that never ends, in place of a device."""
    place = Place("camera", "testsrc=size=64x48:rate=20", "camera 0", "lavfi")
    reader = Reader(place, Span(2), reconnect=3)
    assert (reader.is_finite, reader.total, reader.rate) == (False, None, 20)
    frames = reader.frames()
    assert [next(frames).number for _ in range(3)] == [0, 2, 4]
    reader.stop()
    assert list(frames) == []
    assert reader.counts.reconnected == 0


def test_nobody_is_there(port: int) -> None:
    with pytest.raises(ImageError, match="Connection refused"):
        frames_of(f"tcp://127.0.0.1:{port}", reconnect=5)


def test_somebody_is_there_and_says_nothing(monkeypatch) -> None:
    monkeypatch.setattr(containers, "TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ImageError, match=r"nothing arrived for 0\.5 seconds"):
            frames_of(address)


def test_a_folder_of_frames(tmp_path: Path) -> None:
    for number in range(12):
        Image.fromarray(draw_frame(number)).save(tmp_path / f"frame{number}.png")
    (tmp_path / "frame5.png").write_bytes(b"broken")
    (tmp_path / "notes.txt").write_text("no frame")
    reader = FolderReader(tmp_path, Span(1, 0.1), 0, 20)
    frames = list(reader.frames())
    assert [frame.number for frame in frames] == [2, 3, 4, 6, 7, 8, 9, 10, 11]
    assert frames[0].time == 0.1
    assert (frames[-1].image == draw_frame(11)).all()
    assert reader.counts.broken == 1
    assert reader.total == 10
    assert square(0) != square(1)


def test_folders_without_frames(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no images in this folder"):
        FolderReader(tmp_path, Span(), 0, 25)
    (tmp_path / "a.png").write_bytes(b"broken")
    with pytest.raises(ImageError, match=r"a\.png"):
        list(FolderReader(tmp_path, Span(), 0, 25).frames())
