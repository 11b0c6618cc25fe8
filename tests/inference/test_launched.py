"""Outputs that a graphics card may still be computing; its streams are written down here."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from darknet_torch.inference import launched
from darknet_torch.inference.launched import Launched


@pytest.fixture
def steps(monkeypatch) -> list[str]:
    """What a card is told, in order."""
    told: list[str] = []

    class Stream:
        def __init__(self, name: str) -> None:
            self.name = name

        def record_event(self) -> str:
            told.append(f"{self.name}: record")
            return f"event of {self.name}"

        def wait_event(self, event: str) -> None:
            told.append(f"{self.name}: wait for {event}")

    @contextmanager
    def on(stream: Stream):
        told.append(f"on {stream.name}")
        yield
        told.append(f"end of {stream.name}")

    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: Stream("forward"))
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(launched, "_decoding", lambda _: Stream("decoding"))
    return told


def test_a_card_decodes_beside_the_next_forward_pass(steps) -> None:
    output = SimpleNamespace(
        device=torch.device("cuda", 1),
        record_stream=lambda stream: steps.append(f"kept for {stream.name}"),
    )
    batch = Launched([output])
    steps.append("the next batch")
    with batch.outputs() as outputs:
        steps.append("decode")
        assert outputs == [output]
    assert steps == [
        "forward: record",
        "the next batch",
        "decoding: wait for event of forward",
        "on decoding",
        "kept for decoding",
        "decode",
        "end of decoding",
    ]


@pytest.mark.parametrize("outputs", [[], [torch.ones(2)]])
def test_elsewhere_it_does_nothing(steps, outputs) -> None:
    with Launched(outputs).outputs() as same:
        assert same is outputs
    assert not steps
