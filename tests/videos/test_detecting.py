"""Videos -> frames with detections: known squares, in order, a bounded number at once."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from small_videos import Finder, draw_frame, square, write_video

import darknet_torch as dt
from darknet_torch.errors import DataError, ImageError, UsageError
from darknet_torch.inference.detector import Detector
from darknet_torch.videos import detecting
from darknet_torch.videos.reading import RawFrame, ReadCounts


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_video(tmp_path / "a.mp4")
    return tmp_path / "a.mp4"


@pytest.mark.parametrize(
    ("concurrent", "settings"),
    [(True, {}), (True, {"batch_size": 3}), (False, {"batch_size": 4}), (True, {"workers": 1})],
)
def test_the_squares_are_where_they_were_drawn(path: Path, concurrent, settings) -> None:
    finder: Any = Finder(concurrent=concurrent)
    with dt.video(finder, path, **settings) as frames:
        assert (frames.name, frames.total, frames.rate) == (str(path), 20, 25)
        found = list(frames)
    assert [frame.number for frame in found] == list(range(20))
    for frame in found:
        red, green = sorted(frame.detections, key=lambda d: d.name)
        assert (red.name, green.name) == ("ant", "bee")
        assert red.box == pytest.approx(square(frame.number), abs=4)
        assert green.box == pytest.approx((130, 90, 150, 110), abs=4)
        assert frame.track_ids is None
        assert frame.image.shape == (120, 160, 3)
    assert max(finder.batches) == settings.get("batch_size", 1)
    assert sum(finder.batches) == 20


def test_a_real_network(small_network, path: Path) -> None:
    """What `detect` finds on each frame by itself, and the network as it was."""
    small_network.train()
    frames = list(dt.video(small_network, path, threshold=0.3, every=7, classes=["bee"]))
    assert len(frames) == 3
    detector = Detector(small_network, threshold=0.3)
    for frame in frames:
        (outcome,) = detector.stream([frame.image])
        expected = outcome.result.filter("bee")
        assert len(expected)
        assert frame.detections.to_dict() == expected.to_dict()
    assert small_network.training


def test_some_frames(path: Path) -> None:
    found = list(dt.video(Finder(), path, every=4, start="0:00.3", end=0.7))
    assert [frame.number for frame in found] == [8, 12, 16]
    assert [frame.time for frame in found] == pytest.approx([0.32, 0.48, 0.64])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": 0}, "every=0: must be at least 1"),
        ({"start": 2, "end": 1}, "end=1: must be later than start=2"),
        ({"end": "soon"}, "end=soon: must be seconds"),
        ({"rate": 0}, "rate: above 0"),
        ({"reconnect": -1}, "reconnect: must be at least 0"),
        ({"workers": 0}, "workers=0"),
    ],
)
def test_wrong_arguments(settings, message, path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        dt.video(Finder(), path, **settings)


def test_errors_come_at_once(tmp_path: Path, path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        dt.video(Finder(), tmp_path / "none.mp4")
    with pytest.raises(DataError, match="cannot be read"):
        dt.video(Finder(), path, zones=tmp_path / "none.yaml")


def test_pyav_is_missing(path: Path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(UsageError, match="av is not installed: pip install"):
        dt.video(Finder(), path)


def test_the_error_of_a_network_is_raised(path: Path) -> None:
    class Broken(Finder):
        def __call__(self, x, /):
            raise UsageError("broken")

    for concurrent in (True, False):
        with pytest.raises(UsageError, match="broken"):
            list(dt.video(Broken(concurrent=concurrent), path))


class Endless:
    """Frames without an end; it counts them."""

    def __init__(self, is_finite: bool) -> None:
        self.counts, self.rate, self.total, self.is_finite = ReadCounts(), 25.0, None, is_finite
        self.stopped = False

    def frames(self):
        while not self.stopped:
            number = self.counts.read
            self.counts.read += 1
            yield RawFrame(draw_frame(number % 40), number, number / 100)
            time.sleep(0.0005)

    def stop(self) -> None:
        self.stopped = True


def test_the_frames_of_a_file_are_postprocessed_together(small_network, path: Path) -> None:
    """Those of a camera, large ones and those in real time each by itself."""
    counts: list[int] = []

    class Noted(Detector):
        def postprocess(self, outputs, images):
            counts.append(len(images))
            return super().postprocess(outputs, images)

    def most(reader: Any, **settings) -> int:  # as the last ones may be fewer
        counts.clear()
        frames = detecting.Video("video", Noted(small_network), reader, **settings)
        for _ in range(9):
            next(frames)
        frames.close()
        return max(counts)

    assert most(Endless(is_finite=True)) == detecting.TOGETHER
    assert most(Endless(is_finite=True), paced=True) == 1
    assert most(Endless(is_finite=False)) == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detecting, "LARGEST", 2 * draw_frame(0).nbytes + 1)
        assert most(Endless(is_finite=True)) == 2


def test_a_bounded_number_of_frames_is_in_memory() -> None:
    """However long the video is, and however slow its user."""
    finder: Any = Finder()
    reader = Endless(is_finite=True)
    frames = detecting.Video("endless", Detector(finder, workers=2, batch_size=2), reader)
    next(frames)
    time.sleep(0.3)
    shares = 2 * 2 * detecting.TOGETHER
    bound = detecting.READ_AHEAD + 1 + shares + detecting.DONE_AHEAD + detecting.TOGETHER + 4
    assert reader.counts.read <= bound
    for _ in range(50):
        next(frames)
    time.sleep(0.1)
    assert reader.counts.read <= bound + 51
    frames.close()
    assert reader.stopped
    assert not frames._frames.thread.is_alive()
    assert not frames._detected.thread.is_alive()


def test_in_real_time_frames_are_dropped() -> None:
    """The network is slow: it has the newest frame each time."""

    class Slow(Finder):
        def __call__(self, x, /):
            time.sleep(0.05)
            return super().__call__(x)

    reader = Endless(is_finite=False)
    with detecting.Video("live", Detector(Slow()), reader, newest=True) as frames:
        numbers = [next(frames).number for _ in range(5)]
        assert frames.dropped > 4
    assert numbers == sorted(set(numbers))
    assert numbers[-1] - numbers[0] > 8


def test_a_file_in_real_time_is_played_at_its_speed(path: Path) -> None:
    begun = time.monotonic()
    with dt.video(Finder(), path, realtime=True) as frames:
        found = list(frames)
    assert time.monotonic() - begun >= 19 / 25
    assert frames.dropped + len(found) == 20
    assert found[-1].number == 19


def test_stopped_from_another_thread() -> None:
    reader = Endless(is_finite=True)
    frames = detecting.Video("endless", Detector(Finder()), reader)
    next(frames)
    threading.Timer(0.1, frames.stop).start()
    for _ in frames:
        pass
    assert reader.stopped


def test_nobody_needs_to_close_it() -> None:
    reader = Endless(is_finite=True)
    frames = detecting.Video("endless", Detector(Finder()), reader)
    threads = [frames._frames.thread, frames._detected.thread]
    next(frames)
    del frames
    assert reader.stopped
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


LEFT = """
import atexit, os, signal, sys, time
from pathlib import Path
from threading import Event

ending = [0]
atexit.register(lambda: print(sum(batches) - ending[0]))  # behind that of the library

import torch
from small_videos import Finder
import darknet_torch as dt

folder, computing, batches = Path(sys.argv[1]), Event(), []

class Slow(Finder):
    def __call__(self, x, /):
        batches.append(len(x))
        computing.set()
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            torch.zeros(1 << 16).add_(1)  # without the interpreter's lock
        return super().__call__(x)

children = {}
for how in sys.argv[2:]:
    if not (pid := os.fork()):
        break
    children[pid] = how
else:
    for _ in children:
        pid, status = os.wait()
        (folder / children[pid] / "status").write_text(str(os.waitstatus_to_exitcode(status)))
    os._exit(0)

for number, name in ((1, "out"), (2, "errors")):
    os.dup2(os.open(folder / how / name, os.O_WRONLY | os.O_CREAT), number)
signal.signal(signal.SIGINT, signal.default_int_handler)  # who starts tests may ignore it
network = Slow(concurrent=how == "several threads")
frames = dt.video(network, folder / "a.mp4", realtime=how == "real time", batch_size=1)
next(frames)
computing.clear()
computing.wait()
ending[0] = sum(batches)
if how == "dropped":
    del frames
    sys.exit(7)
if how == "several threads":
    raise ValueError("mine")
if how == "real time":
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
"""


def test_a_program_that_ends_while_frames_are_computed(tmp_path: Path) -> None:
    """With its own status, and after the batches that are being computed."""
    write_video(tmp_path / "a.mp4", 60)
    ways = {"plain": 0, "dropped": 7, "several threads": 1, "real time": -signal.SIGINT}
    for how in ways:
        (tmp_path / how).mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent / "support")}
    command = [sys.executable, "-c", LEFT, str(tmp_path), *ways]
    subprocess.run(command, check=True, timeout=300, env=environment)
    for how, expected in ways.items():
        status, out, errors = (
            (tmp_path / how / name).read_text() for name in ("status", "out", "errors")
        )
        assert int(status) == expected, (how, errors)
        most = 32 if how == "several threads" else 2  # which do what waits for them
        assert int(out) <= most, f"{how}: {out} frames were computed for nobody"
        last = {1: "ValueError: mine", -signal.SIGINT: "KeyboardInterrupt"}.get(expected, "")
        assert errors.strip().endswith(last) and bool(errors) == bool(last), (how, errors)
