"""What a server counts, in the form that Prometheus reads."""

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["KIND", "ServerMetrics"]

KIND = "text/plain; version=0.0.4; charset=utf-8"
SIZES = (1, 2, 4, 8, 16, 32, 64)


class ServerMetrics:
    """Counters of one server.

    Args:
        in_flight: returns the number of requests with images that are being answered.
        waiting: name of a model -> returns its images that wait to be computed.
    """

    def __init__(
        self, in_flight: Callable[[], float], waiting: dict[str, Callable[[], float]]
    ) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._make(Counter, "requests", "Requests by route.", "route", "status")
        self.seconds = self._make(Histogram, "request_seconds", "Time to answer.", "route")
        self.images = self._make(Counter, "images", "Images that were computed.", "model")
        self.batch = self._make(
            Histogram, "batch_images", "Images in a batch.", "model", buckets=SIZES
        )
        text = "Time of a batch: read, compute, answer."
        self.batch_seconds = self._make(Histogram, "batch_seconds", text, "model")
        text = "Requests with images that are being answered."
        self._make(Gauge, "in_flight", text).set_function(in_flight)
        queue = self._make(Gauge, "waiting_images", "Images that wait to be computed.", "model")
        for model, count in waiting.items():
            queue.labels(model).set_function(count)

    def _make(self, kind: Any, name: str, text: str, *labels: str, **settings: Any) -> Any:
        return kind(f"darknet_torch_{name}", text, labels, registry=self.registry, **settings)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request; `route` is one of the server's, so that there are few."""
        self.requests.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def batch_done(self, model: str, images: int, seconds: float) -> None:
        """Count a batch."""
        self.images.labels(model).inc(images)
        self.batch.labels(model).observe(images)
        self.batch_seconds.labels(model).observe(seconds)

    def text(self) -> bytes:
        """Return all counters."""
        return generate_latest(self.registry)
