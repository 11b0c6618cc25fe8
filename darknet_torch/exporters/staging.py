"""Outputs of several files: written to a temporary folder first, then renamed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from darknet_torch.errors import UsageError
from darknet_torch.safety.temporary import temporary_folder

__all__ = ["must_not_replace", "staging_folder"]


def must_not_replace(path: Path, ending: str, owner: str) -> None:
    """Refuse to write a file beside `path` that belongs to a file of another format.

    Args:
        path: the file to write, such as my.xml.
        ending: of the file beside it, such as .bin.
        owner: ending of the other format's file, such as .param.

    Raises:
        UsageError: both the file and its other owner exist.
    """
    theirs, beside = path.with_suffix(owner), path.with_suffix(ending)
    if theirs.exists() and beside.exists():
        raise UsageError(
            f"{path}: would replace {beside}, which belongs to {theirs}; choose another name"
        )


@contextmanager
def staging_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside a path; its contents are moved to the path's folder at the end.

    The file or folder of the path's own name moves last, since readers look for that one. After an
    exception nothing moves.

    Raises:
        UsageError: nothing can be written there; the disk may be full.
    """
    try:
        with temporary_folder(path) as folder:
            yield folder
            for staged in sorted(folder.iterdir(), key=lambda each: each.name == path.name):
                _move(staged, path.parent / staged.name)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error


def _move(staged: Path, target: Path) -> None:
    """Rename; a folder cannot replace another one, so the old one is renamed first."""
    if target.is_dir():
        old = staged.with_name(f"{staged.name}.old")
        target.rename(old)
    staged.replace(target)
