"""Outputs that a graphics card may still be computing; its streams are written down here."""

from types import SimpleNamespace

import pytest
import torch
from written_streams import written_streams

from darknet_torch.inference import launched
from darknet_torch.inference.launched import Launched


@pytest.fixture
def steps(monkeypatch) -> list[str]:
    """What a card is told, in order."""
    monkeypatch.setattr(launched, "_decoding", launched._decoding.__wrapped__)  # not kept
    return written_streams(monkeypatch)


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
        "computing: record",
        "the next batch",
        "beside: wait for computing",
        "kept for beside",
        "on beside",
        "decode",
        "end of beside",
    ]


@pytest.mark.parametrize("outputs", [[], [torch.ones(2)]])
def test_elsewhere_it_does_nothing(steps, outputs) -> None:
    with Launched(outputs).outputs() as same:
        assert same is outputs
    assert not steps
