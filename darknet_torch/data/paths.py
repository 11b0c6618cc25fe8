"""Where files lie that other files name: a few search folders, tried in order."""

from collections.abc import Callable, Sequence
from glob import has_magic
from pathlib import Path
from typing import NamedTuple, TypeVar

from darknet_torch.data.messages import named_in
from darknet_torch.data.moved_paths import MovedPaths, shortened
from darknet_torch.data.problems import ProblemList
from darknet_torch.errors import DataError, UsageError, warn
from darknet_torch.files import IMAGE_SUFFIXES, glob_files, is_file
from darknet_torch.parsing.parser import read_text
from darknet_torch.safety.text import printable

__all__ = [
    "ListedImage",
    "exists",
    "find_path",
    "first_file",
    "folder_and_parents",
    "folders_in",
    "images_in_folder",
    "is_folder",
    "is_image",
    "list_images",
    "read_label_file",
    "read_list",
]

MAX_LIST = 256 << 20  # ImageNet's 1.3 million paths are 80 MB
T = TypeVar("T")


class ListedImage(NamedTuple):
    """An image that is named somewhere, and where: `file:line`."""

    path: Path
    where: str


def exists(path: Path) -> bool:
    """Return whether there is such a file or folder; False for what cannot be a name."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Return whether there is such a folder."""
    return exists(path) and path.is_dir()


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted; not hidden ones, such as `.ipynb_checkpoints`."""
    inside = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in inside if path.is_dir())


def first_file(paths: Sequence[Path]) -> Path | None:
    """Return the first path that is a file."""
    return next((path for path in paths if is_file(path)), None)


def is_image(path: Path) -> bool:
    """Return whether a path has the ending of an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def folder_and_parents(folder: Path) -> tuple[Path, ...]:
    """Return a folder and those that it lies in, the nearest first."""
    try:
        return folder, *folder.resolve().parents
    except (OSError, ValueError, RuntimeError):  # no name of a file, or links in a ring
        return (folder,)


def find_path(name: str, search_folders: Sequence[Path], where: str) -> Path:
    """Return `name` in the first search folder that has it.

    Raises:
        DataError: none has it; the message begins with `where` and lists the paths tried.
    """
    candidates = list(dict.fromkeys(folder / name for folder in search_folders))
    path = next((path for path in candidates if exists(path)), None)
    if path is None:
        moved = MovedPaths(where, _own_folder_first(search_folders), exists)
        path = moved.find(name)
        moved.warn()
    if path is None:
        tried = ", ".join(printable(str(each)) for each in candidates[:5])
        raise DataError(f"{named_in(where, name)}: no such file or folder; looked for {tried}")
    return path


def _own_folder_first(search_folders: Sequence[Path]) -> Sequence[Path]:
    """Return the folders with that of the description before the current one."""
    current, *others = search_folders
    return [others[0], current, *others[1:]] if current == Path() and others else search_folders


def list_images(
    name: str,
    search_folders: Sequence[Path],
    where: str,
    near_list: bool,
    accepts: Callable[[Path], bool] = is_file,
) -> list[ListedImage]:
    """Return the images of a folder, a glob, a list file, or the one image that `name` is.

    Args:
        name: of the folder, glob, list or image.
        search_folders: where `name` is looked for, and what a list names.
        where: for messages.
        near_list: what a list names is looked for beside the list first, else last.
        accepts: whether a candidate for what a list names is the right one.

    Raises:
        DataError: no such path, no image in it, or a list that is no text.
    """
    if has_magic(name) and not any(exists(folder / name) for folder in search_folders):
        return _matches(name, search_folders, where)
    path = find_path(name, search_folders, where)
    if path.is_dir():
        return images_in_folder(path)
    if is_image(path):
        return [ListedImage(path, str(path))]
    beside = (path.parent,) if near_list else ()
    around = () if near_list else folder_and_parents(path.parent)
    return _in_list(path, tuple(dict.fromkeys((*beside, *search_folders, *around))), accepts)


def images_in_folder(folder: Path) -> list[ListedImage]:
    """Return the images of a folder, sorted; raise DataError if there are none."""
    paths = sorted(path for path in folder.iterdir() if is_image(path))
    if not paths:
        deeper = any(each.is_dir() for each in folder.iterdir())
        hint = f"; with those of the folders in it: {folder}/**" if deeper else ""
        raise DataError(f"{folder}: no images in this folder{hint}")
    return [ListedImage(path, str(path)) for path in paths]


def _matches(name: str, search_folders: Sequence[Path], where: str) -> list[ListedImage]:
    for pattern in (name, *shortened(name)):
        for folder in search_folders:
            paths = _images(str(folder / pattern), where)
            if paths:
                if pattern not in (name, name.replace("\\", "/")):
                    warn(f"{named_in(where, name)}: nothing there; {folder / pattern} is taken")
                return [ListedImage(path, str(path)) for path in paths]
    raise DataError(f"{named_in(where, name)}: no image matches")


def _images(pattern: str, where: str) -> list[Path]:
    try:
        paths = [Path(each) for each in glob_files(pattern)]
    except UsageError as error:
        raise DataError(f"{where}: {printable(str(error))}") from error
    return [path for path in paths if is_image(path)]


def read_list(path: Path) -> list[tuple[int, str]]:
    """Return (line number, line) of the lines of a list file that are not blank."""
    text = read_text(path, MAX_LIST, DataError, "a list")
    lines = enumerate(text.split("\n"), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def _in_list(
    path: Path, folders: Sequence[Path], accepts: Callable[[Path], bool]
) -> list[ListedImage]:
    rows = read_list(path)
    if not rows:
        raise DataError(f"{printable(str(path))}: an empty list; an image a line expected")
    moved = MovedPaths(printable(str(path)), (path.parent, *folders), accepts)
    images = [
        ListedImage(_candidate(line, folders, moved), f"{path}:{number}") for number, line in rows
    ]
    moved.warn()
    return images


def _candidate(name: str, folders: Sequence[Path], moved: MovedPaths) -> Path:
    candidates = (folder / name for folder in folders)
    path = next((path for path in candidates if moved.accepts(path)), None)
    return path or moved.find(name) or folders[0] / name


def read_label_file(
    paths: Sequence[Path],
    image: Path,
    kind: str,
    read: Callable[[Path], T],
    problems: ProblemList,
) -> tuple[Path, T] | None:
    """Return the first label file of an image that exists, and its content; None without one.

    Args:
        paths: where the file may be, the best first.
        image: that the labels are of, for messages.
        kind: of file, for messages: "label file" or "annotation".
        read: returns the content of a file, or raises DataError.
        problems: a missing or unreadable file is appended here.
    """
    path = first_file(paths)
    if path is None:
        what = f"no {kind}; looked for {paths[0]}"
        problems.add("missing label file", str(image), what)
        return None
    try:
        return path, read(path)
    except DataError as error:
        problems.add("unreadable label file", str(path), str(error).removeprefix(f"{path}: "))
        return None
