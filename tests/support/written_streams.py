"""Streams of a graphics card that is not there: what they are told is written down."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

__all__ = ["written_streams"]


class _Stream:
    def __init__(self, name: str, steps: list[str]) -> None:
        self.name, self.steps = name, steps

    def record_event(self) -> str:
        self.steps.append(f"{self.name}: record")
        return self.name

    def wait_event(self, event: str) -> None:
        self.steps.append(f"{self.name}: wait for {event}")


def written_streams(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let torch's streams write into the list that is returned, in order.

    The current stream is called "computing", those that are made "beside".
    """
    steps: list[str] = []

    @contextmanager
    def on(stream: _Stream) -> Iterator[None]:
        steps.append(f"on {stream.name}")
        yield
        steps.append(f"end of {stream.name}")

    monkeypatch.setattr(torch.cuda, "Stream", lambda _: _Stream("beside", steps))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: _Stream("computing", steps))
    monkeypatch.setattr(torch.cuda, "stream", on)
    return steps
