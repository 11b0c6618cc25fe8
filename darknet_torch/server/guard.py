"""What every request passes: the host's name, the key, headers of safety, counters."""

import hmac
import time
from collections.abc import Callable, Collection
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard"]

OPEN = ("/", "/health", "/ready", "/page/page.css", "/page/page.js")
"""Paths that need no key: nothing of a network is said there."""
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:;"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
"""The page runs its own script alone, and other pages cannot read what is here."""


class Guard:
    """An ASGI application around another one.

    Args:
        app: that answers.
        count: called with (route, status, seconds) of each request; the route is the path with the
            names of its parameters, or "other" where no route answered.
        api_key: what clients must send; None asks for nothing.
        hosts: names under which the server may be called; None allows all.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        count: Callable[[str, int, float], object],
        api_key: str | None = None,
        hosts: Collection[str] | None = None,
    ) -> None:
        self.app, self.count = app, count
        self.api_key, self.hosts = api_key, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def send_safely(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                added = [(key.encode(), value.encode()) for key, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        answer = self._refusal(Request(scope)) or self.app
        try:
            await answer(scope, receive, send_safely)
        finally:
            route = str(getattr(scope.get("route"), "path", "other"))
            self.count(route, status, time.perf_counter() - begun)

    def _refusal(self, request: Request) -> Any:
        """Return the answer to a request that is not allowed; None if it is."""
        if self.hosts is not None and _host(request) not in self.hosts:
            return _error(400, "the Host header has a name that is not allowed here")
        if self.api_key is None or request.url.path in OPEN:
            return None
        if hmac.compare_digest(_key(request).encode("latin-1"), self.api_key.encode()):
            return None
        why = "an API key is needed: Authorization: Bearer KEY, or X-API-Key: KEY"
        return _error(401, why, {"www-authenticate": "Bearer"})


def _host(request: Request) -> str:
    """Return the name that a client called, without its port."""
    host = request.headers.get("host", "").lower()
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


def _key(request: Request) -> str:
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if kind.lower() == "bearer" else request.headers.get("x-api-key", "")


def _error(status: int, why: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": why}, status, headers)
