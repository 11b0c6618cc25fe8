"""Temporary files and folders, removed when they are done with, or at the next start.

A program that is killed cannot clean up. Whoever makes a temporary file holds a lock on it, which
the system frees when its holder dies; whoever next makes one in the same folder removes those that
nobody holds.
"""

import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

if sys.platform != "win32":  # where a file that is open cannot be removed anyway
    import fcntl

__all__ = ["temporary_file", "temporary_folder"]

NAME = re.compile(r"\..*\.dt-[0-9a-f]{16}")
"""Names of temporary files and folders."""
FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)

_clean: set[Path] = set()
"""Folders that this process has looked through."""


@contextmanager
def temporary_file(target: Path) -> Iterator[tuple[Path, int]]:
    """Yield the path of a new, empty file beside a target, and its open handle.

    The handle is the caller's to close. At the end the file is removed unless it was renamed.

    Raises:
        OSError: nothing can be written there; ValueError: no file can have such a name.
    """
    _remove_left(target.parent)
    path, handle = _new_file(target)
    holder = os.dup(handle)  # it keeps the lock until the file has its name
    try:
        yield path, handle
    finally:
        path.unlink(missing_ok=True)
        os.close(holder)


@contextmanager
def temporary_folder(target: Path | None = None) -> Iterator[Path]:
    """Yield a new folder beside a target, or in the system's folder for such; removed at the end.

    Raises:
        OSError: nothing can be written there; ValueError: no folder can have such a name.
    """
    target = Path(tempfile.gettempdir()) / "darknet_torch" if target is None else target
    _remove_left(target.parent)
    path, holder = _new_folder(target)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if holder is not None:
            os.close(holder)


def _new_file(target: Path) -> tuple[Path, int]:
    """Make a file and lock it; again, if another process took it for left before the lock."""
    while True:
        path = _new_name(target)
        # os.open applies the umask; reading the umask would change it meanwhile.
        handle = os.open(path, FLAGS, 0o666)
        _lock(handle)
        if path.exists():
            return path, handle
        os.close(handle)


def _new_folder(target: Path) -> tuple[Path, int | None]:
    while True:
        path = _new_name(target)
        path.mkdir(mode=0o700)
        if sys.platform == "win32":  # a folder cannot be opened on Windows
            return path, None
        handle = os.open(path, os.O_RDONLY)
        _lock(handle)
        if path.exists():
            return path, handle
        os.close(handle)


def _new_name(target: Path) -> Path:
    return target.parent / f".{target.name[:80]}.dt-{token_hex(8)}"


def _lock(handle: int) -> None:
    """Lock an open file until its last handle is closed, where the system can."""
    if sys.platform != "win32":
        with suppress(OSError):  # some network drives have no locks: nothing is removed there
            fcntl.flock(handle, fcntl.LOCK_SH)


def _remove_left(folder: Path) -> None:
    """Remove what killed programs left in a folder; once in a process, as folders are large."""
    if folder in _clean:
        return
    _clean.add(folder)
    with suppress(OSError), os.scandir(folder) as entries:
        for path in [Path(each.path) for each in entries if NAME.fullmatch(each.name)]:
            with suppress(OSError):  # another user's, or another process was faster
                _remove_if_left(path)


def _remove_if_left(path: Path) -> None:
    """Remove a file or folder that this user owns and no process holds."""
    status = path.lstat()
    is_folder = stat.S_ISDIR(status.st_mode)
    if not (is_folder or stat.S_ISREG(status.st_mode)):
        return None
    if sys.platform == "win32":
        return shutil.rmtree(path) if is_folder else path.unlink()
    if status.st_uid != os.geteuid():
        return None
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path) if is_folder else path.unlink()
    finally:
        os.close(handle)
