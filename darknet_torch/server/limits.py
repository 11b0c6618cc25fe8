"""How many images a server takes at once, how large and how slow they may be."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from io import BytesIO

from fastapi import HTTPException, Request
from starlette.formparsers import MultiPartException, MultiPartParser

from darknet_torch.errors import UsageError

__all__ = ["Limits", "Upload", "Uploads"]

MB = 1 << 20
MOST_FIELDS = 16
"""Parts of a form beside the image."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a server; see `serve`.

    Args:
        max_bytes: most bytes of an uploaded file.
        max_pixels: most pixels of an uploaded image.
        max_in_flight: most requests with images at once.
        max_memory: most bytes of all uploads that are in memory at once.
        upload_timeout: seconds in which a request must have arrived.
        timeout: seconds in which a result must be there, once the image has arrived.

    Raises:
        UsageError: a limit is not above 0.
    """

    max_bytes: int = 16_000_000
    max_pixels: int = 50_000_000
    max_in_flight: int = 64
    max_memory: int = 256 * MB
    upload_timeout: float = 20.0
    timeout: float = 30.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise UsageError(f"{field.name}={getattr(self, field.name)}: must be above 0")


class Upload(BytesIO):
    """The file of an image that a client has sent."""

    name = "the upload"
    """In messages."""


class Uploads:
    """The images that are being received and computed: no more than the limits allow.

    Args:
        limits: of the server.

    Attributes:
        in_flight: requests that have a place.
        held: bytes of their uploads.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits, self.in_flight, self.held = limits, 0, 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Take a place among the requests in flight; HTTPException 503 where there is none."""
        if self.in_flight >= self.limits.max_in_flight:
            raise _busy(f"{self.in_flight} requests are in flight, the most that are taken")
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    @asynccontextmanager
    async def received(self, request: Request) -> AsyncIterator["Upload"]:
        """Take a place, and yield the image in a request's body: the body itself, or of a form.

        Raises:
            HTTPException: 503 too much is in flight, 413 too large, 408 too slow, 400 no image.
        """
        async with self.place():
            body = bytearray()
            try:
                async with _in_time(self.limits.upload_timeout):
                    self._check(_length(request), _length(request))
                    async for chunk in request.stream():
                        self._check(len(body) + len(chunk), len(chunk))
                        self.held += len(chunk)
                        body += chunk
                yield Upload(await _image_of(request, bytes(body)))
            finally:
                self.held -= len(body)

    def _check(self, size: int, more: int) -> None:
        """Check the size of an upload, of which some more bytes will be held."""
        if size > self.limits.max_bytes:
            raise HTTPException(413, f"the upload has more than {self.limits.max_bytes} bytes")
        if self.held + more > self.limits.max_memory:
            raise _busy(f"{self.held} bytes of uploads are in memory")


@asynccontextmanager
async def _in_time(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise HTTPException(408, f"the upload took more than {seconds:g} seconds") from None


def _length(request: Request) -> int:
    """Return the length that a request announces; 0 if it does not."""
    text = request.headers.get("content-length", "0")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


def _busy(why: str) -> HTTPException:
    return HTTPException(503, f"busy: {why}; try again later", {"Retry-After": "1"})


async def _image_of(request: Request, body: bytes) -> bytes:
    """Return the first file of a form, or else the body."""
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        body = await _file_of_form(request, body)
    if not body:
        raise HTTPException(400, "no image in the request: send it as the body, or in a form")
    return body


async def _file_of_form(request: Request, body: bytes) -> bytes:
    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        parser = MultiPartParser(
            request.headers, once(), max_files=1, max_fields=MOST_FIELDS, max_part_size=MB
        )
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        reason = getattr(error, "message", None) or "its boundary is missing or wrong"
        raise HTTPException(400, f"the form cannot be read: {reason}") from error
    try:
        files = [value for value in form.values() if not isinstance(value, str)]
        return await files[0].read() if files else b""
    finally:
        await form.close()
