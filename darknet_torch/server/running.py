"""The server: an application for any ASGI server, and `serve`, which runs it until it is stopped.

app = make_app({"tiny": dt.load("yolov4-tiny")})       # uvicorn, gunicorn, hypercorn take it
serve({"tiny": dt.load("yolov4-tiny")}, port=8000)     # until Ctrl-C or SIGTERM
"""

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from darknet_torch.errors import UsageError
from darknet_torch.extras import require
from darknet_torch.network import Runnable

__all__ = ["make_app", "serve"]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
MOST_CONNECTIONS = 1000
"""Connections at once; those beyond get the status 503."""
AT_THE_END = 30
"""Seconds that requests in flight have, once the server is stopped."""


def make_app(
    models: Mapping[str, Runnable],
    *,
    api_key: str | None = None,
    allowed_hosts: Sequence[str] | None = None,
    batch_size: int = 8,
    batch_wait: float = 2.0,
    workers: int = 2,
    max_bytes: int = 16_000_000,
    max_pixels: int = 50_000_000,
    decoder: Literal["pillow", "torchcodec", "nvjpeg", "turbojpeg"] = "pillow",
    max_in_flight: int = 64,
    upload_timeout: float = 20.0,
    timeout: float = 30.0,
) -> Any:
    """Return the application, a `fastapi.FastAPI`, which any ASGI server runs.

    Args:
        models: name -> a Network, an optimized one, or a converted file; the first is the default.
        api_key: what clients must send; None asks for nothing.
        allowed_hosts: names that a Host header may have; None allows all.
        batch_size: see `serve`, like the others.
        batch_wait: in milliseconds.
        workers: number of threads of each model.
        max_bytes: of an upload.
        max_pixels: of an image.
        decoder: of JPEG files, see `detect`.
        max_in_flight: requests with images at once.
        upload_timeout: in seconds.
        timeout: in seconds.

    Raises:
        UsageError: no model, one that cannot be served, or a package is not installed.
    """
    for module in ("fastapi", "prometheus_client", "python_multipart"):
        require(module, "serve")
    from darknet_torch.server.application import Application
    from darknet_torch.server.batcher import Batching
    from darknet_torch.server.limits import Limits

    limits = Limits(
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        max_in_flight=max_in_flight,
        upload_timeout=upload_timeout,
        timeout=timeout,
    )
    batching = Batching(batch_size=batch_size, batch_wait=batch_wait / 1000, workers=workers)
    return Application(models, limits, batching, api_key, allowed_hosts, decoder).app


def serve(
    models: Mapping[str, Runnable],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key: str | None = None,
    allowed_hosts: Sequence[str] | None = None,
    batch_size: int = 8,
    batch_wait: float = 2.0,
    workers: int = 2,
    max_bytes: int = 16_000_000,
    max_pixels: int = 50_000_000,
    decoder: Literal["pillow", "torchcodec", "nvjpeg", "turbojpeg"] = "pillow",
    max_in_flight: int = 64,
    upload_timeout: float = 20.0,
    timeout: float = 30.0,
    started: Callable[[str], object] | None = None,
) -> None:
    """Serve networks over HTTP until Ctrl-C or SIGTERM; requests in flight are answered first.

    Args:
        models: name -> a Network, an optimized one, or a converted file; the first is the default.
        host: address of this machine to listen on; "0.0.0.0" is all of them, for clients elsewhere.
        port: to listen on; 0 is any that is free.
        api_key: what clients must send, as `Authorization: Bearer KEY`; None asks for nothing.
        allowed_hosts: names that a Host header may have; None is 127.0.0.1 and localhost where the
            server listens on this machine alone, and any elsewhere.
        batch_size: most images in one forward pass.
        batch_wait: milliseconds that a thread waits for more images of a batch.
        workers: threads of each model that read images and compute.
        max_bytes: most bytes of an upload; more are answered by 413.
        max_pixels: most pixels of an image.
        decoder: of JPEG files, see `detect`.
        max_in_flight: most requests with images at once; others are answered by 503.
        upload_timeout: seconds in which a request must have arrived, else it is answered by 408.
        timeout: seconds in which a result must be there, else the answer is 504.
        started: called with the address, once the server listens.

    Raises:
        UsageError: no model, one that cannot be served, a port in use, or a missing package.
    """
    require("uvicorn", "serve")
    loopback = host.startswith("127.") or host in ("localhost", "::1")
    if allowed_hosts is None and loopback:
        allowed_hosts = (*LOOPBACK, host)
    app = make_app(
        models,
        api_key=api_key,
        allowed_hosts=allowed_hosts,
        batch_size=batch_size,
        batch_wait=batch_wait,
        workers=workers,
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        decoder=decoder,
        max_in_flight=max_in_flight,
        upload_timeout=upload_timeout,
        timeout=timeout,
    )
    with _listening(host, port) as listener:
        name = f"[{host}]" if ":" in host else host
        _run(app, listener, upload_timeout, f"http://{name}:{listener.getsockname()[1]}", started)


def _listening(host: str, port: int) -> socket.socket:
    if not 0 <= port < 1 << 16:
        raise UsageError(f"port {port}: must be from 0 to 65535")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise UsageError(f"port {port} of {host}: {error.strerror or error}") from error


def _run(
    app: Any,
    listener: socket.socket,
    patience: float,
    address: str,
    started: Callable[[str], object] | None,
) -> None:
    """Run uvicorn on a socket, until a signal."""
    import uvicorn

    from darknet_torch.server.connection import PatientProtocol

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if started is not None:
                started(address)

    config = uvicorn.Config(
        app,
        http=PatientProtocol.with_patience(patience),
        ws="none",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=AT_THE_END,
    )
    Server(config).run(sockets=[listener])
