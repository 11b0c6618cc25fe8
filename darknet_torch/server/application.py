"""The parts of a server, put together: models, their threads, limits, counters, addresses."""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from darknet_torch.errors import DarknetError, UsageError
from darknet_torch.images.decoders import DecoderName
from darknet_torch.network import Runnable
from darknet_torch.server.batcher import Batcher, Batching
from darknet_torch.server.guard import Guard
from darknet_torch.server.kept import KeptImages
from darknet_torch.server.limits import Limits, Uploads
from darknet_torch.server.metrics import ServerMetrics
from darknet_torch.server.model import ServedModel
from darknet_torch.server.routes import Routes
from darknet_torch.server.status import StatusRoutes
from darknet_torch.version import __version__

__all__ = ["Application"]

KEPT = 128 << 20
"""Bytes of images that are kept for other settings."""
log = logging.getLogger("darknet_torch.server")


class Application:
    """The application and what runs behind it, from its start to its end.

    Args:
        models: name -> network, the default first.
        limits: of requests.
        batching: of the images of each model.
        api_key: see `serve`.
        allowed_hosts: see `serve`.
        decoder: see `serve`.

    Raises:
        UsageError: no model, or one that cannot be served.
    """

    def __init__(
        self,
        models: Mapping[str, Runnable],
        limits: Limits,
        batching: Batching,
        api_key: str | None,
        allowed_hosts: Sequence[str] | None,
        decoder: DecoderName,
    ) -> None:
        if not models:
            raise UsageError("no model to serve")
        if api_key is not None and not api_key.strip():
            raise UsageError("api_key: is empty")
        self.models = {
            name: ServedModel(name, network, limits.max_pixels, decoder)
            for name, network in models.items()
        }
        self.batching, self.batchers = batching, dict[str, Batcher]()
        self.uploads, self.is_ready = Uploads(limits), False
        self.metrics = ServerMetrics(
            lambda: self.uploads.in_flight, {name: partial(self._waiting, name) for name in models}
        )
        self.app = FastAPI(
            title="darknet_torch",
            version=__version__,
            lifespan=self._life,
            docs_url=None,  # these two pages load scripts from other hosts
            redoc_url=None,
        )
        kept = self.app.state.kept = KeptImages(KEPT)
        Routes(self.models, self.batchers, self.uploads, kept).add_to(self.app)
        StatusRoutes(self.metrics, lambda: self.is_ready).add_to(self.app)
        for kind, answer in ERRORS.items():
            self.app.add_exception_handler(kind, answer)
        self.app.add_middleware(
            Guard,
            count=self.metrics.request,
            api_key=api_key,
            hosts=None if allowed_hosts is None else {name.lower() for name in allowed_hosts},
        )

    @asynccontextmanager
    async def _life(self, _: FastAPI) -> AsyncIterator[None]:
        """Compute once with each model and start its threads; at the end they finish what waits."""
        for name, model in self.models.items():
            try:
                await run_in_threadpool(model.warm_up)
            except Exception as error:  # each request to this model will say the same
                log.error("%s cannot compute", name, exc_info=error)
            observe = partial(self.metrics.batch_done, name)
            self.batchers[name] = Batcher(model.network, self.batching, observe)
        self.is_ready = True
        try:
            yield
        finally:
            self.is_ready = False
            for batcher in self.batchers.values():
                batcher.close()

    def _waiting(self, name: str) -> float:
        return self.batchers[name].waiting if name in self.batchers else 0


def _plain(_: Request, error: Any) -> JSONResponse:
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


def _invalid(_: Request, error: Any) -> JSONResponse:
    """Say which parameter is wrong, and why."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"][1:])) or "the request"
    return JSONResponse({"error": f"{where}: {first['msg']}"}, 422)


def _wrong(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 400)


def _broken(_: Request, error: Exception) -> JSONResponse:
    log.error("a request failed", exc_info=error)
    return JSONResponse({"error": "the server failed; its log has the reason"}, 500)


ERRORS: dict[Any, Any] = {
    HTTPException: _plain,
    RequestValidationError: _invalid,
    DarknetError: _wrong,
    Exception: _broken,
}
