"""The page, and what says how the server is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import FileResponse, JSONResponse

from darknet_torch.server.metrics import KIND, ServerMetrics
from darknet_torch.version import __version__

__all__ = ["StatusRoutes"]

PAGE = Path(__file__).with_name("page")
FILES = {"page.css": "text/css", "page.js": "text/javascript"}


class StatusRoutes:
    """The addresses of the page and of the server's state.

    Args:
        metrics: counters.
        is_ready: whether requests can be answered.
    """

    def __init__(self, metrics: ServerMetrics, is_ready: Callable[[], bool]) -> None:
        self.metrics, self.is_ready = metrics, is_ready

    def add_to(self, app: FastAPI) -> None:
        """Add the addresses to an application."""
        gets: dict[str, Callable[..., Any]] = {
            "/": self.page,
            "/page/{file}": self.page_file,
            "/health": self.health,
            "/ready": self.ready,
            "/metrics": self.show_metrics,
        }
        for path, answer in gets.items():
            app.add_api_route(path, answer, methods=["GET"], response_model=None)

    async def page(self) -> Response:
        """Show the page."""
        return FileResponse(PAGE / "index.html", media_type="text/html")

    async def page_file(self, file: str) -> Response:
        """Return a file of the page."""
        if file not in FILES:
            raise HTTPException(404, "no such file")
        return FileResponse(PAGE / file, media_type=FILES[file])

    async def health(self) -> dict[str, str]:
        """Say that the process runs."""
        return {"status": "ok", "version": __version__}

    async def ready(self) -> Response:
        """Say whether images are taken."""
        ready = self.is_ready()
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    async def show_metrics(self) -> Response:
        """Return the counters for Prometheus."""
        return Response(self.metrics.text(), media_type=KIND)
