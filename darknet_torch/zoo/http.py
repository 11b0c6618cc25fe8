"""One file over HTTP: resumed where the server can, never longer than promised.

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

__all__ = ["fetch_url", "open_url", "pour"]

TIMEOUT = 30.0
"""Seconds without a single byte before a connection counts as dead."""
CHUNK = 1 << 18
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_AGENT = "darknet-torch"  # pjreddie.com answers 403 to the name that urllib gives itself


def fetch_url(url: str, part: Path, sizes: Sequence[int], progress: Progress | None = None) -> None:
    """Complete `part` from `url`, going on where an earlier download of it stopped.

    `sizes` are the byte counts that the whole file may have, in ascending order. What arrived
    stays in `part` when the connection breaks, for the next call to resume.

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
    """Ask for `url` from byte `start` on; redirects may not lead away from https.

    Raises:
        DownloadError: the address is not https, or nobody answers.
    """
    _check_address(url)
    request = Request(url, headers={"User-Agent": _AGENT})
    if start:
        request.add_header("Range", f"bytes={start}-")
    with _errors():
        try:
            answer = build_opener(_Redirects).open(request, timeout=TIMEOUT)
        except HTTPError as error:
            if error.code != 416:  # "range not satisfiable" is an answer, not a failure
                raise
            answer = error
        return cast(HTTPResponse, answer)


def pour(
    read: Callable[[int], bytes],
    part: Path,
    start: int,
    sizes: Sequence[int],
    progress: Progress | None = None,
    total: int | None = None,
) -> None:
    """Append what `read` gives to the first `start` bytes of `part`, up to the promised size.

    Raises:
        DownloadError: there is more than promised (`part` is deleted) or less (`part` stays).
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
    """Follows a redirect only to an address that would be allowed by itself."""

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
    """Allow https, and http to this very machine unless https leads there."""
    parts = urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if parts.scheme == "https" or (local and not before.startswith("https:")):
        return
    raise DownloadError(f"{url}: only https addresses are fetched")


def _resume(
    url: str, part: Path, start: int, sizes: Sequence[int], progress: Progress | None
) -> bool:
    """Fetch the rest of `part`; False if the server has no such rest and all must come again."""
    with _errors(), open_url(url, start) as response:
        wanted = rf"bytes {start}-\d+/(\d+|\*)"
        given = response.headers.get("Content-Range", "")
        if response.status != 206 or not re.fullmatch(wanted, given.strip()):
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
    pour(response.read1, part, start, sizes, progress, total)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        code = f"{error.code} " if isinstance(error, HTTPError) else ""
        raise DownloadError(f"{code}{reason}") from error
