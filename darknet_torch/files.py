"""Files that are either whole or not there, and names that need not be files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, cast

from darknet_torch.errors import DarknetError

__all__ = ["PICTURES", "atomic", "cfg_folder", "is_file", "read_bytes", "write_atomically"]

PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Endings of the files in a folder that are looked at as pictures."""


def cfg_folder() -> Path:
    """Return the folder of the cfgs: in the package, or beside it in a source tree."""
    package = Path(__file__).parent
    inside = package / "cfg"
    return inside if inside.is_dir() else package.parent / "cfg"


def read_bytes(path: Path, most: int, kind: type[DarknetError], what: str) -> bytes:
    """Return what a file holds; raises `kind` if that cannot be, or is more than `most` bytes."""
    try:
        if path.is_dir():
            raise kind(f"{path}: is a folder, not a file")
        with path.open("rb") as file:
            raw = file.read(most + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise kind(f"{path}: cannot be read: {reason}") from error
    if len(raw) > most:
        raise kind(f"{path}: larger than {_size(most)}, too large for {what} file")
    return raw


def _size(count: int) -> str:
    return f"{count >> 20} MB" if count >= 1 << 20 else f"{count >> 10} kB"


def is_file(path: str | PathLike[str]) -> bool:
    """Say whether that is a file; a name that cannot be one (too long, a NUL in it) is none."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


@contextmanager
def atomic(path: str | PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its name only when all is written and on the disk.

    After an exception the old file, if there was one, stands unchanged, and nothing else is left.
    """
    path = Path(path)
    name = path.parent / f".{path.name[:80]}.{token_hex(8)}"
    # The system knows what mode a new file has; asking it for the mask would change it meanwhile.
    handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            yield cast(BinaryIO, file)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            name.chmod(path.stat().st_mode & 0o777)
        name.replace(path)
    except BaseException:
        name.unlink(missing_ok=True)
        raise


def write_atomically(path: str | PathLike[str], content: bytes | str) -> None:
    """Write a whole file at once."""
    with atomic(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
