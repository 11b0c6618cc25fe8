"""Where files lie that other files name: a few folders, looked through in order."""

import re
from collections.abc import Callable, Iterator, Sequence
from glob import has_magic, iglob
from pathlib import Path
from typing import NamedTuple

from darknet_torch.data.messages import plain, shown
from darknet_torch.errors import DataError
from darknet_torch.files import IMAGE_SUFFIXES, is_file
from darknet_torch.parsing.parser import read_text

__all__ = [
    "Listed",
    "exists",
    "find",
    "first_file",
    "in_folder",
    "is_folder",
    "is_picture",
    "list_rows",
    "pictures",
    "with_parents",
]

MAX_LIST = 256 << 20  # ImageNet's 1.3 million paths are 80 MB


class Listed(NamedTuple):
    """A picture that is named somewhere, and where: `file:line`."""

    path: Path
    where: str


def exists(path: Path) -> bool:
    """Say whether there is such a file or folder; a name that cannot be one is none."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Say whether there is such a folder."""
    return exists(path) and path.is_dir()


def first_file(paths: Sequence[Path]) -> Path | None:
    """The first that is there."""
    return next((path for path in paths if is_file(path)), None)


def is_picture(path: Path) -> bool:
    """Say whether that has the ending of a picture."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def with_parents(folder: Path) -> tuple[Path, ...]:
    """A folder and those that it lies in, the nearest first."""
    try:
        return folder, *folder.resolve().parents
    except (OSError, ValueError, RuntimeError):  # no name of a file, or links in a ring
        return (folder,)


def find(name: str, places: Sequence[Path], where: str) -> Path:
    """The first of the places that has it; raises DataError that lists them."""
    tried = list(dict.fromkeys(place / name for place in places))
    found = next((path for path in tried if exists(path)), None)
    if found is None:
        looked = ", ".join(plain(str(path)) for path in tried[:5])
        raise DataError(f"{where}: {shown(name)}: no such file or folder; looked for {looked}")
    return found


def pictures(
    name: str,
    places: Sequence[Path],
    where: str,
    near_list: bool,
    there: Callable[[Path], bool] = is_file,
) -> list[Listed]:
    """The pictures that a folder, a glob, a list file or the name of one picture means.

    places: where `name` is looked for, and what a list names; near_list: that beside it first;
    there: whether a place is the right one for what a list names.
    Raises DataError: not there, nothing in it, or a list that is no text.
    """
    if has_magic(name) and not any(exists(place / name) for place in places):
        return _matches(name, places, where)
    path = find(name, places, where)
    if path.is_dir():
        return in_folder(path)
    if is_picture(path):
        return [Listed(path, str(path))]
    folders = (path.parent, *places) if near_list else (*places, *with_parents(path.parent))
    return _in_list(path, tuple(dict.fromkeys(folders)), there)


def in_folder(folder: Path) -> list[Listed]:
    """The pictures of a folder, sorted; raises DataError if there are none."""
    found = sorted(path for path in folder.iterdir() if is_picture(path))
    if not found:
        deeper = plain(f"{folder}/**/*.jpg")
        raise DataError(f"{plain(str(folder))}: no pictures in this folder; deeper ones: {deeper}")
    return [Listed(path, str(path)) for path in found]


def _matches(name: str, places: Sequence[Path], where: str) -> list[Listed]:
    for place in places:
        found = sorted(path for path in _glob(str(place / name)) if is_picture(path))
        if found:
            return [Listed(path, str(path)) for path in found]
    raise DataError(f"{where}: {shown(name)}: no picture matches")


def _glob(pattern: str) -> Iterator[Path]:
    try:
        # Path.glob refuses absolute patterns
        for each in iglob(pattern, recursive=True):  # noqa: PTH207
            yield Path(each)
    except (OSError, ValueError, re.error) as error:
        raise DataError(f"{shown(pattern)}: no pattern: {error}") from error


def list_rows(path: Path) -> list[tuple[int, str]]:
    """The lines of a list file that are not blank, with their numbers."""
    text = read_text(path, MAX_LIST, DataError, "a list")
    lines = enumerate(text.split("\n"), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def _in_list(path: Path, folders: Sequence[Path], there: Callable[[Path], bool]) -> list[Listed]:
    rows = list_rows(path)
    if not rows:
        raise DataError(f"{plain(str(path))}: an empty list; a picture a line wanted")
    return [Listed(_place(line, folders, there), f"{path}:{number}") for number, line in rows]


def _place(name: str, folders: Sequence[Path], there: Callable[[Path], bool]) -> Path:
    tried = (folder / name for folder in folders)
    return next((path for path in tried if there(path)), folders[0] / name)
