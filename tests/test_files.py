"""Files are written as a whole or not at all, and read up to a limit."""

import os
import stat
import tracemalloc
from pathlib import Path

import pytest
from full_disk import limited_files

from darknet_torch import files
from darknet_torch.errors import CfgError, UsageError, WeightsError
from darknet_torch.files import (
    atomic,
    cfg_folder,
    glob_files,
    is_file,
    read_bytes,
    write_atomically,
)


def test_a_file_has_its_whole_content_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with atomic(path) as file:
        file.write(b"some")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"some"
    write_atomically(path, "text\n")
    assert path.read_bytes() == b"text\n"
    assert list(tmp_path.iterdir()) == [path]


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic(path) as file:
        file.write(b"new")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_modes_are_those_of_any_file(tmp_path: Path) -> None:
    plain, path = tmp_path / "plain", tmp_path / "x"
    plain.touch()
    write_atomically(path, b"")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    path.chmod(0o640)
    write_atomically(path, b"again")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_reading_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert read_bytes(path, 5, CfgError, "a text") == b"12345"
    with pytest.raises(CfgError, match="larger than 0 kB, too large for a text file"):
        read_bytes(path, 4, CfgError, "a text")
    with pytest.raises(CfgError, match="is a folder"):
        read_bytes(tmp_path, 4, CfgError, "a text")
    with pytest.raises(CfgError, match="cannot be read: No such file"):
        read_bytes(tmp_path / "y", 4, CfgError, "a text")


def test_a_file_is_read_in_no_more_memory_than_it_needs(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(range(256)) * 2000)
    tracemalloc.start()
    try:
        assert read_bytes(path, 1 << 40, CfgError, "a text") == bytes(range(256)) * 2000
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    monkeypatch.setattr(files, "BLOCK", 3)
    for size in (0, 1, 3, 4, 12, 13, 20):
        path.write_bytes(bytes(range(size)))
        assert read_bytes(path, size, CfgError, "a text") == bytes(range(size))
        with pytest.raises(CfgError, match="too large"):
            read_bytes(path, size - 1, CfgError, "a text")


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", ".", ""])
def test_names_that_are_no_files(name: str) -> None:
    assert not is_file(name)


def test_the_folder_of_the_cfgs() -> None:
    assert is_file(cfg_folder() / "yolov4-tiny.cfg")


def test_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    for content in (b"1" * 9, b"1" * 99999):
        with limited_files(5), pytest.raises(WeightsError, match="x: cannot be written: File too"):
            write_atomically(path, content, WeightsError)
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_devices_are_written_to_and_not_replaced() -> None:
    write_atomically("/dev/null", b"some")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    with pytest.raises(UsageError, match=r"^/dev/full: cannot be written: No space"):
        write_atomically("/dev/full", b"some")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_names_that_cannot_be_written(tmp_path: Path) -> None:
    for name, reason in (("a\0b", "null"), ("x" * 300, "too long"), ("", "directory")):
        with pytest.raises(UsageError, match=f"cannot be written: .*{reason}"):
            write_atomically(tmp_path / name, b"")
    assert not list(tmp_path.iterdir())


def test_pipes_are_not_read(tmp_path: Path) -> None:
    """One without a writer would be waited for, without end."""
    os.mkfifo(tmp_path / "x")
    with pytest.raises(CfgError, match="x: is no plain file"):
        read_bytes(tmp_path / "x", 4, CfgError, "a text")


def test_patterns_are_linear_or_refused(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*"abcdefgh")
    deep.mkdir(parents=True)
    (deep / "x.JPG").touch()
    assert glob_files(f"{tmp_path}/**/**/**/**/**/**/**/**/**/**/*.jpg") == [str(deep / "x.JPG")]
    assert glob_files(f"{tmp_path}/**/d/**/*.jpg") == [str(deep / "x.JPG")]
    for pattern in (f"{tmp_path}/**/a/**/b/**/*.jpg", "**/x/**/y/**"):
        with pytest.raises(UsageError, match=r"\*\* at more than 2 places"):
            glob_files(pattern)
    assert glob_files(f"{tmp_path}/[") == []
