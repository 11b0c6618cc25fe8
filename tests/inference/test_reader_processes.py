"""Processes that read images: the same images and errors as in this process, and clean ends."""

import io
import json
import os
import signal
import subprocess
import sys
import warnings
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
from darknet_torch.errors import DarknetWarning, ImageError
from darknet_torch.images.resizing import cropping, letterboxing, stretching
from darknet_torch.inference import reader_process, reader_processes, streaming
from darknet_torch.inference.prepared import Reading
from darknet_torch.inference.reader_processes import ReaderProcesses, core_count
from darknet_torch.safety.shared_memory import shared_memory

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


@pytest.mark.parametrize(
    "answer", [b"", b'{"ima', b'{"images": [], "size": 243, "shared": false}\n123']
)
def test_a_process_that_ends_in_the_middle_of_an_answer(read, files, answer):
    """As one that is killed for its memory: the next image is read by another."""

    class Cut:
        stdin, stdout = io.BytesIO(), io.BytesIO(answer)
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
    try:
        with pytest.raises(ImageError, match="the process that read it ended"):
            read(files[0])
        assert cut.killed
        assert read(files[0]).waits
    finally:
        for each in others:
            read._idle.put(each)


def same(one, other) -> bool:
    if isinstance(one, ImageError):
        return str(one) == str(other)
    alike = (one.path, one.width, one.height, one.jpeg) == (
        *(other.path, other.width, other.height, other.jpeg),
    )
    return alike and torch.equal(one.image, other.image)


def here(reading, source):
    try:
        return reading(source)
    except ImageError as error:
        return error


@pytest.fixture(params=["memory", "pipe"])
def way(request, monkeypatch) -> str:
    """How pixels come from a process: only Linux has the first."""
    if request.param == "pipe":
        monkeypatch.setattr(reader_processes, "shared_memory", lambda: None)
    elif shared_memory() is None:
        pytest.skip("this system has no memory to share")
    return request.param


@pytest.mark.parametrize("decoder", ["pillow", "nvjpeg"])
def test_groups_in_order(files, decoder, way):
    """Images, errors, and what is no file, each in its place, whatever the groups are."""
    reading = replace(READING, decoder=decoder)
    array = np.zeros((9, 8, 3), np.uint8)
    sources = [*map(str, files * 9), array, *map(str, files), array, array, str(files[0])]
    expected = {str(path): here(reading, str(path)) for path in files}
    with ReaderProcesses(reading, 2) as processes:
        for _ in range(2):
            found = list(processes.ahead(sources))
            assert all(a is b for (a, _), b in zip(found, sources, strict=True))
            for source, result in found:
                wanted = reading(source) if source is array else expected[source]
                assert same(wanted, result)
        assert processes._size == reader_processes.MOST  # small images
        assert list(processes.ahead([])) == []
        assert len(list(processes.ahead(sources[:1]))) == 1


def test_sizes_of_groups():
    processes = ReaderProcesses(READING, 2)
    address = "http://localhost/a.png"
    processes._size = 16
    sources = ["a"] * 30 + [address, b"content"] + ["b"] * 3
    groups = list(processes._groups(sources))
    assert [each for group in groups for each in group] == sources
    assert [len(each) for each in groups] == [9, 7, 5, 4, 3, 2, 1, 1, 1, 1, 1]
    processes._size = 4
    assert max(map(len, processes._groups(sources))) == 4


@pytest.mark.parametrize("limit", ["BYTES", "SECONDS"])
def test_a_group_that_is_large_or_takes_long_is_answered_in_parts(limit, files, monkeypatch):
    monkeypatch.setattr(reader_process, limit, 1e-9)
    reader = reader_process.FileReader(READING.to_dict())
    answers = io.BytesIO()
    paths = [str(each) for each in files[:3]]
    reader_process.serve(reader, io.BytesIO(json.dumps({"paths": paths}).encode()), answers)
    answer = json.loads(answers.getvalue().partition(b"\n")[0])
    assert len(answer["images"]) == 1 and answer["share"] > 2


def test_the_rest_of_a_group_follows(files, monkeypatch):
    with ReaderProcesses(READING, 1) as processes:
        whole = processes.read
        monkeypatch.setattr(processes, "read", lambda group: whole(group[:2]))
        processes._size = 5
        found = [source for source, _ in processes.ahead(files)]
    assert found == files


def test_a_group_whose_process_ends(files, monkeypatch):
    """Each other image is read all the same, in order."""
    killer = str(files[1])
    start = reader_processes._Process

    class Mortal(start):
        def read(self, paths):
            if killer in paths:
                os.kill(self.process.pid, signal.SIGKILL)
            return super().read(paths)

    monkeypatch.setattr(reader_processes, "_Process", Mortal)
    with ReaderProcesses(READING, 1) as processes:
        found = processes.read(files[:4])
        ended = [str(each) for each in found if isinstance(each, ImageError)]
        assert ended == [f"{killer}: the process that read it ended"]
        assert [each.path for each in found if not isinstance(each, ImageError)] == [
            str(files[n]) for n in (0, 2, 3)
        ]


def test_large_images_are_resized_there(tmp_path, way):
    reading = replace(READING, max_pixels=0)
    paths = [tmp_path / name for name in ("small.png", "large.png", "odd.png", "small.png")]
    Image.new("RGB", (30, 20), (1, 2, 3)).save(paths[0])
    Image.new("RGB", (2100, 2100), (4, 5, 6)).save(paths[1])
    Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30)).save(paths[2])
    with ReaderProcesses(reading, 1) as processes:
        found = [result for _, result in processes.ahead(paths)]
    assert [each.waits for each in found] == [True, False, True, True]
    for path, result in zip(paths, found, strict=True):
        assert same(reading(path), result)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_channels(tmp_path, channels, way):
    reading = replace(READING, channels=channels)
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((30, 20, channels), np.float32))
    Image.new("RGB", (20, 30), (1, 2, 3)).save(tmp_path / "b.png")
    paths = [tmp_path / "a.npy", tmp_path / "b.png", tmp_path / "a.npy"]
    with ReaderProcesses(reading, 1) as processes:
        for path, result in processes.ahead(paths):
            assert same(here(reading, path), result)


def test_what_the_memory_does_not_hold_comes_behind_the_answer(files):
    answers, memory = io.BytesIO(), io.BytesIO()
    reader = reader_process.FileReader(READING.to_dict())
    request = json.dumps({"paths": [str(files[0])], "start": 7}).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader_process, "PART", 9)
        reader_process.serve(reader, io.BytesIO(request), answers, memory)
    text, _, values = answers.getvalue().partition(b"\n")
    answer = json.loads(text)
    assert not answer["shared"] and len(values) == answer["size"] and not memory.getvalue()
    answers = io.BytesIO()
    reader_process.serve(reader, io.BytesIO(request), answers, memory)
    assert memory.getvalue()[7:] == values
    assert json.loads(answers.getvalue())["shared"]


def test_an_early_end(files):
    """Processes end, and images that were read stay."""
    with ReaderProcesses(READING, 2) as processes:
        ahead = processes.ahead(files[:4] * 50)
        first = next(ahead)[1]
        ahead.close()
        started = [processes._idle.get() for _ in range(2)]
        for each in started:
            processes._idle.put(each)
    assert all(each.process.poll() is not None for each in started)
    assert same(READING(files[0]), first)


def test_warnings_come_through(tmp_path):
    """And one that is an error does not disturb what is read next."""
    np.save(tmp_path / "a.npy", np.full((30, 20, 3), 200, np.float32))
    with ReaderProcesses(READING, 1) as processes:
        with pytest.warns(DarknetWarning, match="floats are from 0 to 1"):
            processes(tmp_path / "a.npy")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(DarknetWarning):
                processes(tmp_path / "a.npy")
        Image.new("RGB", (20, 30)).save(tmp_path / "b.png")
        assert processes(tmp_path / "b.png").width == 20


def test_a_process_starts_without_torch(files):
    code = (
        "import sys\nfrom darknet_torch.inference.reader_process import FileReader\n"
        f"for decoder in ('pillow', 'nvjpeg'):\n    reader = FileReader({READING.to_dict()} | "
        f"{{'decoder': decoder}})\n    [reader(path) for path in {[str(f) for f in files]}]\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


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

    monkeypatch.setattr(streaming, "_pays_processes", lambda sources, network: len(sources) > 4)
    monkeypatch.setattr(streaming, "ReaderProcesses", Counted)
    monkeypatch.setattr(streaming, "core_count", lambda: 1)
    found = dt.detect(network, files[:5], threshold=0.2)
    assert started == [1]
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a.xyxy, b.xyxy, atol=1e-3, rtol=0)
    assert len(dt.detect(network, files[:4])) == 4
    assert started == [1]


def test_processes_pay_for_many_files_elsewhere():
    class Network:
        device = torch.device("meta")

    files, pays = ["a.jpg"] * streaming.MANY, streaming._pays_processes
    assert pays(files, Network()) and not pays(files[1:], Network())
    assert not pays([*files[1:], b"content", "http://localhost/a.jpg"], Network())
    assert not pays(iter(files), Network())
    Network.device = torch.device("cpu")
    assert not pays(files, Network())


def test_cores_are_shared(monkeypatch):
    monkeypatch.setattr(reader_processes.os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert core_count() == 16
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert core_count() == 4
