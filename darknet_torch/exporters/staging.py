"""Outputs of several files, or of programs that want a name: made beside, then renamed."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from darknet_torch.errors import UsageError

__all__ = ["made_beside"]


@contextmanager
def made_beside(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside a path; what is in it at the end moves to the path's folder.

    The file or folder with the path's own name moves last, since readers look for that one.
    After an exception nothing moves. Raises UsageError where nothing can be written.
    """
    try:
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name[:80]}."))
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error
    try:
        yield folder
        for made in sorted(folder.iterdir(), key=lambda each: each.name == path.name):
            _move(made, path.parent / made.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move(made: Path, target: Path) -> None:
    """Rename; a folder cannot take another's place, so the old one steps aside first."""
    if target.is_dir():
        old = made.with_name(f"{made.name}.old")
        target.rename(old)
    made.replace(target)
