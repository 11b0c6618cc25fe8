"""Processes that read images: the same images and errors as in this process, and clean ends."""

import io
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_network import CFG

import darknet_torch as dt
from darknet_torch.errors import ImageError
from darknet_torch.images.resizing import cropping, letterboxing, stretching
from darknet_torch.inference import reader_processes, streaming
from darknet_torch.inference.prepared import Reading
from darknet_torch.inference.reader_processes import ReaderProcesses, core_count

READING = Reading(3, 41, 32, letterboxing, 1 << 20, torch.device("meta"))


@pytest.fixture(scope="module")
def read() -> Iterator[ReaderProcesses]:
    with ReaderProcesses(READING, 2) as read:
        yield read


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Images of various kinds; the last three are broken, missing, and too large."""
    rng = np.random.default_rng(0)
    names = ["a.png", "b.jpg", "c ä\nd.png", "e.bmp", "f.png"]
    for number, name in enumerate(names):
        pixels = rng.integers(0, 256, (30 + 7 * number, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"no image")
    Image.new("L", (1200, 1200)).save(tmp_path / "large.png")
    return [tmp_path / name for name in (*names, "broken.png", "missing.png", "large.png")]


def outcome(read, path):
    try:
        return read(path)
    except ImageError as error:
        return str(error)


def test_as_in_this_process(read, files):
    wanted = [outcome(READING, path) for path in files]
    assert sum(isinstance(each, str) for each in wanted) == 3
    with ThreadPoolExecutor(5) as threads:  # more than there are processes
        for _ in range(3):
            got = threads.map(lambda path: outcome(read, path), files)
            for mine, theirs in zip(wanted, got, strict=True):
                if isinstance(mine, str):
                    assert theirs == mine
                else:
                    assert torch.equal(theirs.image, mine.image) and theirs.waits
                    assert torch.equal(theirs.pixels, mine.pixels)
                    assert theirs.placement(True) == mine.placement(True)
                    assert str(theirs.path) == str(mine.path)


def test_jpegs_that_are_decoded_elsewhere(files):
    """Their content comes through the process; others as ever."""
    reading = replace(READING, decoder="nvjpeg")
    with ReaderProcesses(reading, 1) as read:
        for path in files[:3]:
            mine, theirs = reading(path), read(path)
            assert theirs.jpeg == mine.jpeg and (mine.jpeg is not None) == (path.suffix == ".jpg")
            assert torch.equal(theirs.image, mine.image)
            assert theirs.placement(True) == mine.placement(True)


def test_what_is_no_file_is_read_here(read):
    image = torch.zeros(3, 8, 9, dtype=torch.uint8)
    assert read(image).image is image


def test_a_process_that_ends(read, files):
    ended = read._idle.get()
    os.kill(ended.process.pid, signal.SIGKILL)
    ended.process.wait()
    others = [read._idle.get() for _ in range(read.count - 1)]
    read._idle.put(ended)
    with pytest.raises(ImageError, match="the process that read it ended"):
        read(files[0])
    assert read(files[0]).waits  # another has taken its place
    for each in others:
        read._idle.put(each)


def test_a_process_that_ends_in_the_middle_of_an_image(read, files):
    """As one that is killed for its memory: the next image is read by another."""

    class Cut:
        stdin = io.BytesIO()
        stdout = io.BytesIO(
            b'{"warnings": [], "shape": [9, 9, 3], "dtype": "uint8", "width": 9, "height": 9}\n123'
        )
        killed = False

        def kill(self):
            self.killed = True

        def wait(self, timeout):
            assert self.killed

    process = read._idle.get()
    others = [read._idle.get() for _ in range(read.count - 1)]
    process.end()
    process.process = cut = Cut()
    read._idle.put(process)
    with pytest.raises(ImageError, match="the process that read it ended"):
        read(files[0])
    assert cut.killed
    assert read(files[0]).waits
    for each in others:
        read._idle.put(each)


def test_reading_as_json():
    for fitting in (stretching, letterboxing, cropping):
        reading = Reading(1, 20, 30, fitting, 0, torch.device("cuda:1"))
        assert Reading.from_dict(reading.to_dict()) == reading


def test_long_lists(files, monkeypatch):
    """detect reads a very long list in processes, where the network is elsewhere."""
    torch.manual_seed(1)
    network = dt.build(CFG, dialect="alexeyab")
    expected = dt.detect(network, files[:5], threshold=0.2)
    started = []

    class Counted(ReaderProcesses):
        def __enter__(self):
            started.append(self.count)
            return super().__enter__()

    monkeypatch.setattr(streaming, "_pays_processes", lambda network, sources: len(sources) > 4)
    monkeypatch.setattr(streaming, "ReaderProcesses", Counted)
    monkeypatch.setattr(streaming, "core_count", lambda: 1)
    found = dt.detect(network, files[:5], threshold=0.2)
    assert started == [1]
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a.xyxy, b.xyxy, atol=1e-3, rtol=0)
    assert len(dt.detect(network, files[:4])) == 4
    assert started == [1]


def test_cores_are_shared(monkeypatch):
    monkeypatch.setattr(reader_processes.os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert core_count() == 16
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert core_count() == 4
