"""Download over HTTP: resumed where the server supports it, never longer than expected.

Only the standard library is used, so that the zoo works before torch is installed.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, cast
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from darknet_torch.errors import DownloadError
from darknet_torch.progress import Progress

__all__ = ["OFFLINE", "copy_stream", "fetch_bytes", "fetch_url", "must_be_online", "open_url"]

OFFLINE = "DARKNET_TORCH_OFFLINE"
"""Of the environment: nothing is fetched if it has a value."""

TIMEOUT = 30.0
"""Seconds without a single byte after which a connection counts as dead."""
CHUNK = 1 << 18
"""Bytes per read."""
LENGTH = re.compile("[0-9]{1,18}")
"""A number of bytes that there can be; of longer ones Python makes no number."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_AGENT = "darknet-torch"  # pjreddie.com answers 403 to urllib's own


def fetch_url(url: str, part: Path, sizes: Sequence[int], progress: Progress | None = None) -> None:
    """Download `url` to `part`, resuming where an earlier download of it stopped.

    The bytes that arrived stay in `part` when the connection breaks, for the next call to resume.

    Args:
        url: an https address.
        part: the file to write.
        sizes: the sizes in bytes that the complete file may have, in ascending order.
        progress: called with the bytes that have arrived, and their total.

    Raises:
        DownloadError: the address is not https, nobody answers, or the size is wrong.
    """
    start = part.stat().st_size if part.exists() else 0
    if start == sizes[-1]:
        return
    if 0 < start < sizes[-1] and _resume(url, part, start, sizes, progress):
        return
    with _errors(), open_url(url) as response:
        _receive(response, part, 0, sizes, progress)


def fetch_bytes(url: str, most: int) -> bytes:
    """Return what is at an address, which may be of plain http: an image, that nobody vouches for.

    Args:
        url: an http or https address.
        most: the largest size in bytes.

    Raises:
        DownloadError: nobody answers, or there is more.
    """
    with _errors(), open_url(url, plain=True) as response:
        content = response.read(most + 1)
    if len(content) > most:
        raise DownloadError(f"larger than {most >> 20} MB, too large for an image")
    return content


def open_url(url: str, start: int = 0, *, plain: bool = False) -> HTTPResponse:
    """Request `url` from byte `start` on; redirects must stay on https, unless plain http may be.

    Raises:
        DownloadError: an address that is not allowed, nobody answers, or `must_be_online`.
    """
    must_be_online()
    redirects = _Redirects(plain)
    redirects.check(url)
    request = Request(url, headers={"User-Agent": _AGENT})
    if start:
        request.add_header("Range", f"bytes={start}-")
    with _errors():
        try:
            response = build_opener(redirects).open(request, timeout=TIMEOUT)
        except HTTPError as error:
            if error.code != 416:  # "range not satisfiable" is a response, not a failure
                raise
            response = error
        return cast(HTTPResponse, response)


def must_be_online() -> None:
    """Raise DownloadError if the variable DARKNET_TORCH_OFFLINE has a value: nothing is fetched."""
    if os.environ.get(OFFLINE):
        raise DownloadError(f"not fetched, because of --offline or the variable {OFFLINE}")


def copy_stream(
    read: Callable[[int], bytes],
    part: Path,
    start: int,
    sizes: Sequence[int],
    progress: Progress | None = None,
    total: int | None = None,
) -> None:
    """Append a stream to the first `start` bytes of `part`, up to the expected size.

    Args:
        read: returns at most so many next bytes of the stream, b"" at its end.
        part: the file to write.
        start: bytes that it has.
        sizes: the sizes in bytes that the complete file may have, in ascending order.
        progress: called with the bytes that have arrived, and their total.
        total: the size in bytes, if it is known; else the largest of `sizes` is assumed.

    Raises:
        DownloadError: there is more than expected (`part` is deleted) or less (`part` stays).
    """
    done, end = start, total or sizes[-1]
    with part.open("ab" if start else "wb") as file:
        while done < end and (chunk := read(min(CHUNK, end - done))):
            file.write(chunk)
            done += len(chunk)
            if progress:
                progress(done, end)
        excess = done == sizes[-1] and read(1)
    if excess:
        part.unlink()
        raise DownloadError(f"longer than the {sizes[-1]} bytes that it should have")
    if done not in sizes:
        raise DownloadError(f"ended after {done} of {end} bytes")


class _Redirects(HTTPRedirectHandler):
    """Follows redirects to allowed addresses only: https, and http to this machine.

    Args:
        plain: http is allowed everywhere.
    """

    def __init__(self, plain: bool) -> None:
        self.plain = plain

    def redirect_request(
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> Request | None:
        self.check(newurl, before=req.full_url)
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def check(self, url: str, before: str = "") -> None:
        """Allow https, http if `plain`, and http to this machine but by a redirect from https."""
        with _errors():
            parts = urlsplit(url)
        local = parts.hostname in _LOOPBACK and not before.startswith("https:")
        if parts.scheme == "https" or (parts.scheme == "http" and (self.plain or local)):
            return
        allowed = "http and https" if self.plain else "https"
        raise DownloadError(f"{url}: only {allowed} addresses are fetched")


def _resume(
    url: str, part: Path, start: int, sizes: Sequence[int], progress: Progress | None
) -> bool:
    """Fetch the rest of `part`; return False if the server does not send just the rest."""
    with _errors(), open_url(url, start) as response:
        expected = rf"bytes {start}-\d+/(\d+|\*)"
        content_range = response.headers.get("Content-Range", "")
        if response.status != 206 or not re.fullmatch(expected, content_range.strip()):
            return False
        _receive(response, part, start, sizes, progress)
        return True


def _receive(
    response: HTTPResponse, part: Path, start: int, sizes: Sequence[int], progress: Progress | None
) -> None:
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if LENGTH.fullmatch(length) else None
    if total is not None and total not in sizes:
        raise DownloadError(f"has {total} bytes, not {' or '.join(map(str, sizes[-2:]))}")
    copy_stream(response.read1, part, start, sizes, progress, total)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except (OSError, HTTPException, ValueError) as error:  # ValueError: of a malformed address
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        code = f"{error.code} " if isinstance(error, HTTPError) else ""
        raise DownloadError(f"{code}{reason}") from error
