"""Paths that were written elsewhere: what they name here.

Lists and descriptions travel with their images, but the paths in them stay as they were:
`data/obj/1.jpg` in an archive without the folder `data` (CVAT), `../valid/images` one level too
high (Roboflow), `/home/me/obj/1.jpg` or `C:\\darknet\\obj\\1.jpg` of another machine. Such a path
is looked for without its first folders, one after the other.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from darknet_torch.data.messages import shown
from darknet_torch.errors import warn

__all__ = ["MovedPaths", "shortened"]

_MOST_FOLDERS = 3
_MOST_MISSES = 50
_DEEPEST = 20


class MovedPaths:
    """The files that paths from elsewhere mean.

    Args:
        where: for the warning.
        folders: where to look; the first three of them.
        accepts: whether a candidate is the right one.
    """

    def __init__(
        self, where: str, folders: Sequence[Path], accepts: Callable[[Path], bool]
    ) -> None:
        self.where, self.folders, self.accepts = where, folders[:_MOST_FOLDERS], accepts
        self._rules: list[tuple[Path, int]] = []
        self._misses = self._count = 0
        self._first = ""

    def find(self, name: str) -> Path | None:
        """Return the path of what `name` means here, None if there is nothing.

        The rule that served one name is tried first for the next; after 50 names without any, no
        others are looked for, so that a list of any length takes linear time.
        """
        tails = list(shortened(name))
        path = self._by_rules(tails) or self._searched(tails)
        if path is None:
            self._misses += 1
        elif tails and path not in [folder / tails[0] for folder in self.folders]:
            self._first = self._first or f"{shown(name)}: not there; {path} is taken"
            self._count += 1
        return path

    def warn(self) -> None:
        """Emit one warning, if folders were left out to find something."""
        if self._count:
            others = f", and so for {self._count - 1} others" if self._count > 1 else ""
            warn(f"{self.where}: {self._first}{others}")

    def _by_rules(self, tails: Sequence[str]) -> Path | None:
        candidates = (folder / tails[n] for folder, n in self._rules if n < len(tails))
        return next((path for path in candidates if self.accepts(path)), None)

    def _searched(self, tails: Sequence[str]) -> Path | None:
        if self._misses >= _MOST_MISSES:
            return None
        for dropped, tail in enumerate(tails):
            for folder in self.folders:
                if self.accepts(folder / tail):
                    self._rules.append((folder, dropped))
                    return folder / tail
        return None


def shortened(name: str) -> Iterator[str]:
    """Yield a path with slashes, without a comment; then without its first folders.

    >>> list(shortened(r"C:\\data\\a.jpg"))
    ['C:/data/a.jpg', 'data/a.jpg', 'a.jpg']
    """
    parts = PurePosixPath(name.partition("#")[0].replace("\\", "/")).parts
    if parts[:1] == ("/",):
        yield "/".join(("", *parts[1:]))
        parts = parts[1:]
    for dropped in range(min(len(parts), _DEEPEST)):
        tail = parts[dropped:]
        if tail != ("..",):
            yield "/".join(tail)
