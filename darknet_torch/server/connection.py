"""Connections of clients that send nothing, or slowly, are closed, so that they are not used up."""

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["PatientProtocol"]


class PatientProtocol(H11Protocol):
    """Uvicorn's protocol, with a limit to the time in which a request's headers must arrive.

    Uvicorn alone waits without end for the first byte, and for the end of the headers. The body
    of a request has a limit of its own, see `Uploads`.
    """

    patience: ClassVar[float] = 20.0
    """Seconds."""
    _timer: asyncio.TimerHandle | None = None

    @classmethod
    def with_patience(cls, seconds: float) -> "type[PatientProtocol]":
        """Return the protocol with another limit."""
        return type("PatientProtocol", (cls,), {"patience": seconds})

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take some bytes; while no request is being answered, the time goes on."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._unwatch()
        elif self._timer is None:
            self._timer = self.loop.call_later(self.patience, self._close)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        self._timer = None
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()
