"""Download over HTTP: resumed where the server supports it, never longer than expected.

Only the standard library is used, so that the zoo works before torch is installed.
"""

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

__all__ = ["copy_stream", "fetch_url", "open_url"]

TIMEOUT = 30.0
"""Seconds without a single byte after which a connection counts as dead."""
CHUNK = 1 << 18
"""Bytes per read."""
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


def open_url(url: str, start: int = 0) -> HTTPResponse:
    """Request `url` from byte `start` on; redirects must stay on https.

    Raises:
        DownloadError: the address is not https, or nobody answers.
    """
    _check_address(url)
    request = Request(url, headers={"User-Agent": _AGENT})
    if start:
        request.add_header("Range", f"bytes={start}-")
    with _errors():
        try:
            response = build_opener(_Redirects).open(request, timeout=TIMEOUT)
        except HTTPError as error:
            if error.code != 416:  # "range not satisfiable" is a response, not a failure
                raise
            response = error
        return cast(HTTPResponse, response)


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
    """Follows redirects to allowed addresses only."""

    def redirect_request(
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> Request | None:
        _check_address(newurl, before=req.full_url)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_address(url: str, before: str = "") -> None:
    """Allow https, and http to this machine unless it is a redirect from https."""
    parts = urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if parts.scheme == "https" or (local and not before.startswith("https:")):
        return
    raise DownloadError(f"{url}: only https addresses are fetched")


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
    total = start + int(length) if length.isdecimal() else None
    if total is not None and total not in sizes:
        raise DownloadError(f"has {total} bytes, not {' or '.join(map(str, sizes[-2:]))}")
    copy_stream(response.read1, part, start, sizes, progress, total)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        code = f"{error.code} " if isinstance(error, HTTPError) else ""
        raise DownloadError(f"{code}{reason}") from error
