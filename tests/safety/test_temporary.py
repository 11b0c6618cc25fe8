"""Temporary files go when they are done with, or when the next program starts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from darknet_torch.errors import UsageError
from darknet_torch.files import write_atomically
from darknet_torch.safety import temporary
from darknet_torch.safety.temporary import temporary_file, temporary_folder


@pytest.fixture(autouse=True)
def next_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is a program that has not looked through any folder yet."""
    monkeypatch.setattr(temporary, "_clean", set())


def test_nothing_is_left(tmp_path: Path) -> None:
    with temporary_file(tmp_path / "x") as (path, handle), temporary_folder(tmp_path / "y") as y:
        os.write(handle, b"some")
        os.close(handle)
        (y / "inside").mkdir()
        assert {path, y} == set(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_systems_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(KeyError), temporary_folder() as folder:
        assert folder.parent == tmp_path
        raise KeyError
    assert not list(tmp_path.iterdir())


HOLD = """
import sys, time
from pathlib import Path
from darknet_torch.safety.temporary import temporary_file, temporary_folder
here = Path(sys.argv[1])
with temporary_file(here / "a.onnx"), temporary_folder(here / "b.xml") as folder:
    (folder / "b.bin").write_bytes(b"half")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_what_a_killed_program_left_is_removed(tmp_path: Path) -> None:
    """And nothing while it lives, nor what only looks like it."""
    program = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        others = [tmp_path / name for name in (".bashrc", ".x.dt-12", "x.dt-0123456789abcdef")]
        for each in others:
            each.touch()
        left = set(tmp_path.iterdir()) - set(others)
        assert len(left) == 2
        write_atomically(tmp_path / "new", b"1")
        assert set(tmp_path.iterdir()) >= left, "the program still runs"
    finally:
        program.send_signal(signal.SIGKILL)
        program.wait()
    temporary._clean.clear()
    write_atomically(tmp_path / "new", b"2")
    assert set(tmp_path.iterdir()) == {*others, tmp_path / "new"}


def test_a_folder_is_looked_through_once(tmp_path: Path) -> None:
    write_atomically(tmp_path / "x", b"")
    left = tmp_path / ".x.dt-0123456789abcdef"
    left.touch()
    write_atomically(tmp_path / "x", b"")
    assert left.exists()


def test_links_are_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").touch()
    (tmp_path / ".x.dt-0123456789abcdef").symlink_to(other)
    os.mkfifo(tmp_path / ".y.dt-0123456789abcdef")
    start = time.monotonic()
    write_atomically(tmp_path / "x", b"")
    assert time.monotonic() - start < 5
    assert (other / "file").exists()


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    for call in (temporary_file, temporary_folder):
        with pytest.raises(OSError), call(tmp_path / "nowhere" / "x"):  # type: ignore[attr-defined]
            pass
    with pytest.raises(UsageError, match="cannot be written: No such file or directory"):
        write_atomically(tmp_path / "nowhere" / "x", b"")
