"""Reading whole files, writing them atomically, and the folder of the cfgs."""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from glob import iglob
from os import PathLike
from pathlib import Path
from typing import BinaryIO, cast

from darknet_torch.errors import DarknetError, UsageError
from darknet_torch.safety.temporary import temporary_file

__all__ = [
    "IMAGE_SUFFIXES",
    "any_case",
    "atomic",
    "cfg_folder",
    "glob_files",
    "is_file",
    "read_bytes",
    "write_atomically",
]

IMAGE_SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".npy"),
    *(".pgm", ".png", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp"),
)
"""Suffixes of the files in a folder that are taken for images."""
BLOCK = 1 << 16
"""Bytes that are read of a file at first; then as many as were read before."""
MOST_DEEP = 2
"""How often `**` may stand in a pattern: with each one the search takes as many times longer as
folders lie in one another."""


def any_case(pattern: str) -> str:
    """Return a glob pattern whose ending, if it is that of images, is matched in any case.

    >>> any_case("photos/*.jpg")
    'photos/*.[jJ][pP][gG]'
    """
    stem, dot, ending = pattern.rpartition(".")
    if f".{ending.lower()}" not in IMAGE_SUFFIXES:
        return pattern
    return f"{stem}{dot}" + "".join(f"[{c.lower()}{c.upper()}]" for c in ending)


def glob_files(pattern: str) -> list[str]:
    """Return what a pattern matches, once each and sorted; of images in any case of the ending.

    Raises:
        UsageError: `**` stands for folders at more than two places, so that the search would take
            hours in a deep folder, or it is no pattern.
    """
    parts = re.sub(r"\*\*([/\\]\*\*)+(?=[/\\]|$)", "**", pattern)
    if len(re.findall(r"(?:^|[/\\])\*\*(?=[/\\]|$)", parts)) > MOST_DEEP:
        raise UsageError(f"{pattern:.200}: ** at more than {MOST_DEEP} places")
    try:
        # Path.glob refuses absolute patterns
        return sorted(set(iglob(any_case(parts), recursive=True)))  # noqa: PTH207
    except (OSError, ValueError, re.error) as error:
        raise UsageError(f"{pattern:.200}: no pattern: {error}") from error


def cfg_folder() -> Path:
    """Return the folder of the cfgs: in the package, or next to it in a source tree."""
    package = Path(__file__).parent
    inside = package / "cfg"
    return inside if inside.is_dir() else package.parent / "cfg"


SAMPLE = cfg_folder() / "sample.jpg"
"""The path of the sample image, a collage of five objects that many networks know."""


def read_bytes(path: Path, most: int, kind: type[DarknetError], what: str) -> bytes:
    """Return the content of a file.

    Args:
        path: the file.
        most: the largest size in bytes.
        kind: class of the error.
        what: the kind of file, for messages.

    Raises:
        DarknetError: of class `kind`: the file cannot be read, or is larger than `most`.
    """
    try:
        if path.is_dir():
            raise kind(f"{path}: is a folder, not a file")
        if path.exists() and not path.is_file():  # a pipe may never end, or never begin
            raise kind(f"{path}: is no plain file")
        raw = bytearray()
        with path.open("rb") as file:
            # block by block: read(most) takes memory for that many bytes first
            while part := file.read(min(most + 1 - len(raw), max(BLOCK, len(raw)))):
                raw += part
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise kind(f"{path}: cannot be read: {reason}") from error
    if len(raw) > most:
        raise kind(f"{path}: larger than {_size(most)}, too large for {what} file")
    return bytes(raw)


def _size(count: int) -> str:
    return f"{count >> 20} MB" if count >= 1 << 20 else f"{count >> 10} kB"


def is_file(path: str | PathLike[str]) -> bool:
    """Return whether the path is a file; False for names that no file can have (such as a NUL)."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


@contextmanager
def atomic(path: str | PathLike[str], kind: type[DarknetError] = UsageError) -> Iterator[BinaryIO]:
    """Open a file for writing that gets its name only when it is complete and on the disk.

    After an exception the old file, if there was one, is unchanged, and nothing else is left. A
    device, such as /dev/null, is written to as it is.

    Args:
        path: the file.
        kind: class of the error.

    Raises:
        DarknetError: of class `kind`: the file cannot be written; the disk may be full.
    """
    path = Path(path)
    with ExitStack() as stack:
        try:
            if path.exists() and not path.is_file() and not path.is_dir():
                name, file = path, path.open("wb")
            else:
                name, handle = stack.enter_context(temporary_file(path))
                file = os.fdopen(handle, "wb")
        except (OSError, ValueError) as error:
            raise kind(_cannot_write(path, error)) from error
        try:
            with file:
                yield cast(BinaryIO, file)
                file.flush()
                if name != path:
                    os.fsync(file.fileno())
            if name != path:
                _rename(name, path)
        except OSError as error:
            raise kind(_cannot_write(path, error)) from error


def _rename(name: Path, path: Path) -> None:
    """Give a file the name of another, and its mode."""
    if path.exists():
        name.chmod(path.stat().st_mode & 0o777)
    name.replace(path)


def _cannot_write(path: Path, error: Exception) -> str:
    return f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}"


def write_atomically(
    path: str | PathLike[str], content: bytes | str, kind: type[DarknetError] = UsageError
) -> None:
    """Write a file: afterwards it has the whole content, or is as it was before.

    Raises:
        DarknetError: of class `kind`: the file cannot be written.
    """
    with atomic(path, kind) as file:
        file.write(content.encode() if isinstance(content, str) else content)
