"""Hostile uploads: too large, too slow, too many, damaged; each is answered, and others go on."""

import asyncio
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from small_server import client_of, photo
from starlette.testclient import TestClient

import darknet_torch as dt
from darknet_torch.network import Network
from darknet_torch.server.limits import Limits, Uploads


def png_header(width: int, height: int) -> bytes:
    """A PNG of this size with some rows of black pixels, in few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + crc

    sizes = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    rows = zlib.compress(bytes(min(height, 9) * (3 * width + 1)), 9)
    header = chunk(b"IHDR", sizes + b"\x08\x02\0\0\0")
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def gif_bomb() -> bytes:
    """A GIF that claims to have 60,000 x 60,000 pixels."""
    small = photo(kind="GIF")
    return small[:6] + 2 * (60_000).to_bytes(2, "little") + small[10:]


HOSTILE = {
    "empty": b"",
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "html": b"<html><script>alert(1)</script></html>",
    "zip": b"PK\x03\x04" + bytes(100),
    "truncated": photo(kind="JPEG")[:300],
    "half of a png": photo()[: len(photo()) // 2],
    "bomb": png_header(60_000, 60_000),
    "wide": png_header(2_000_000, 30),
    "gif": gif_bomb(),
    "npy": b"\x93NUMPY\x01\0v\0{'descr': '|O', 'fortran_order': False, 'shape': (9,)}" + b" " * 60,
    "huge npy": b"\x93NUMPY\x01\0v\0"
    + b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999, 99999, 3)}".ljust(117)
    + b"\n",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n",
    "tiff": b"II*\0\x08\0\0\0\xff\xff" + bytes(50),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_image(client: TestClient, kind: str) -> None:
    for request in ({"content": HOSTILE[kind]}, {"files": {"image": HOSTILE[kind]}}):
        response = client.post("/detect", **request)
        assert response.status_code == 400
        assert "the upload" in response.json()["error"] or kind == "empty"
    assert client.post("/detect", content=photo()).status_code == 200


def test_limits_of_size(small_network: Network) -> None:
    with client_of(small_network, max_bytes=4000, max_pixels=1000) as client:
        response = client.post("/detect", content=bytes(4001))
        assert response.status_code == 413
        assert response.json() == {"error": "the upload has more than 4000 bytes"}

        def parts() -> Any:
            for _ in range(1000):
                sent.append(100)
                yield bytes(100)

        sent: list[int] = []
        assert client.post("/detect", content=parts()).status_code == 413
        response = client.post("/detect", content=photo(40, 30))
        assert response.status_code == 400
        assert "40x30 pixels are more than 1000" in response.json()["error"]
        assert client.post("/detect", content=photo(30, 30)).status_code == 200


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=a", b"nothing"),
        ("multipart/form-data; boundary=a", b'--a\r\nContent-Disposition: form-data; name="b"'),
        ("multipart/form-data; boundary=a", b"--a\r\n\r\nx\r\n--a--\r\n"),
    ],
)
def test_forms_that_cannot_be_read(client: TestClient, kind: str, body: bytes) -> None:
    response = client.post("/detect", content=body, headers={"content-type": kind})
    assert response.status_code == 400
    assert "form" in response.json()["error"]


def test_too_many_at_once(small_network: Network, monkeypatch) -> None:
    """Some are answered, the others are told to come again."""
    entered, leave = threading.Event(), threading.Event()
    forward = type(small_network).forward

    def slow(self: Network, x: Any) -> Any:
        entered.set()
        leave.wait(10)
        return forward(self, x)

    monkeypatch.setattr(type(small_network), "forward", slow)
    with client_of(small_network, max_in_flight=2) as client, ThreadPoolExecutor(2) as pool:
        first = [pool.submit(client.post, "/detect", content=photo()) for _ in range(2)]
        entered.wait(10)
        _until(lambda: "in_flight 2.0" in client.get("/metrics").text)
        refused = client.post("/detect", content=photo())
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"].startswith("busy: 2 requests are in flight")
        assert client.get("/health").status_code == 200
        leave.set()
        assert [each.result().status_code for each in first] == [200, 200]
        assert client.post("/detect", content=photo()).status_code == 200


def _until(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_result_that_comes_too_late(small_network: Network, monkeypatch) -> None:
    forward = type(small_network).forward

    def slow(self: Network, x: Any) -> Any:
        time.sleep(0.4)
        return forward(self, x)

    with client_of(small_network, timeout=0.1) as client:
        with monkeypatch.context() as patched:
            patched.setattr(type(small_network), "forward", slow)
            late = client.post("/detect", content=photo())
        assert late.status_code == 504
        assert late.json() == {"error": "no result within 0.1 seconds"}
        time.sleep(0.5)
        assert client.post("/detect", content=photo()).status_code == 200


def receive(uploads: Uploads, messages: Any, length: int | None = None) -> Any:
    """What comes of a request whose body arrives as `messages` do."""
    from starlette.requests import Request

    headers = [] if length is None else [(b"content-length", str(length).encode())]
    scope = {"type": "http", "method": "POST", "headers": headers}

    async def run() -> bytes:
        async with uploads.received(Request(scope, messages)) as body:
            return body.getvalue()

    return asyncio.run(run())


def test_an_upload_that_is_slow() -> None:
    from fastapi import HTTPException

    async def slowly() -> Any:
        await asyncio.sleep(0.05)
        return {"type": "http.request", "body": b"x", "more_body": True}

    uploads = Uploads(Limits(upload_timeout=0.2))
    with pytest.raises(HTTPException) as caught:
        receive(uploads, slowly)
    assert (caught.value.status_code, caught.value.detail) == (
        408,
        "the upload took more than 0.2 seconds",
    )
    assert (uploads.in_flight, uploads.held) == (0, 0)


def test_all_uploads_together_have_a_limit() -> None:
    from fastapi import HTTPException

    async def quickly() -> Any:
        return {"type": "http.request", "body": bytes(60), "more_body": True}

    uploads = Uploads(Limits(max_memory=100))
    with pytest.raises(HTTPException) as caught:
        receive(uploads, quickly)
    assert caught.value.status_code == 503
    assert "60 bytes of uploads are in memory" in caught.value.detail
    with pytest.raises(HTTPException) as caught:
        receive(uploads, quickly, length=101)
    assert caught.value.status_code == 503
    assert (uploads.in_flight, uploads.held) == (0, 0)


def test_limits_are_checked() -> None:
    with pytest.raises(dt.DarknetError, match="max_bytes=0: must be above 0"):
        Limits(max_bytes=0)
    with pytest.raises(dt.DarknetError, match="timeout=nan: must be above 0"):
        Limits(timeout=float("nan"))
