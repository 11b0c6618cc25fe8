"""A web server on this machine for the tests of downloads, which never leave it."""

import hashlib
import http.server
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from darknet_torch.zoo.download import download

CONTENT = bytes(range(256)) * 8192  # 2 MiB
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `pages`; its fields set how badly it behaves. `requests` are all (path, Range)."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, bytes] = {"/file": CONTENT}
        self.redirects: dict[str, str] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.ranges = True
        self.lengths = True
        self.length: str | None = None  # a Content-Length that is wrong
        self.shift = 0  # a server whose 206 begins elsewhere than requested
        self.cut = len(CONTENT)  # it hangs up after so many bytes
        self.pause = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        requested = self.headers["Range"]
        self.server.requests.append((self.path, requested))
        if self.path in self.server.redirects:
            self.send_response(302)
            self.send_header("Location", self.server.redirects[self.path])
            return self.end_headers()
        if self.path not in self.server.pages:
            return self.send_error(404)
        content = self.server.pages[self.path]
        start = int(re.findall(r"\d+", requested)[0]) if requested and self.server.ranges else 0
        if start >= len(content):
            return self.send_error(416)
        start = max(0, start - self.server.shift)
        self.send_response(206 if requested and self.server.ranges else 200)
        if requested and self.server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.server.lengths:
            length = self.server.length
            self.send_header(
                "Content-Length", str(len(content) - start) if length is None else length
            )
        self.end_headers()
        return self.send(content[start : self.server.cut])

    def send(self, content: bytes) -> None:
        for at in range(0, len(content), 1 << 16):
            try:
                self.wfile.write(content[at : at + (1 << 16)])
            except OSError:  # the client was killed, or has read enough
                return
            time.sleep(self.server.pause)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(name="server")
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A running server on this machine."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def get(server: Server, path: Path, **options: object) -> Path:
    """Download /file from the server to a path."""
    arguments: dict[str, object] = {"size": len(CONTENT), "digest": DIGEST} | options
    return download([f"{server.url}/file"], path, **arguments)  # type: ignore[arg-type]


def left_in(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir() if not file.name.endswith(".lock")}
