"""Outputs that a graphics card may still be computing; its streams are written down here."""

from types import SimpleNamespace

import pytest
import torch
from written_streams import written_streams

from darknet_torch.errors import ImageError
from darknet_torch.images.resizing import stretching
from darknet_torch.inference import launched
from darknet_torch.inference.launched import Launched, decode_beside
from darknet_torch.inference.prepared import Prepared


@pytest.fixture
def steps(monkeypatch) -> list[str]:
    """What a card is told, in order."""
    for name in ("_decoding", "_jpegs"):
        monkeypatch.setattr(launched, name, getattr(launched, name).__wrapped__)  # not kept
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


def test_jpegs_are_decoded_beside_the_forward_passes(steps, monkeypatch) -> None:
    """And what is computed next waits for them; what lies on the CPU is not handed over."""

    class OnCard(SimpleNamespace):
        is_cuda = True

        def record_stream(self, stream) -> None:
            steps.append(f"kept for {stream.name}")

    fit = stretching(9, 9, 9, 9)
    card, cpu = (Prepared(image, fit, None, 9, 9) for image in (OnCard(), torch.ones(3, 9, 9)))

    def decode(images, device):
        steps.append("decode")
        return images

    monkeypatch.setattr(launched, "decoded", decode)
    images = [card, cpu, ImageError("no image")]
    assert decode_beside(images, torch.device("cuda", 0)) is images
    assert steps == [
        "on beside",
        "decode",
        "end of beside",
        "beside: record",
        "computing: wait for beside",
        "kept for computing",
    ]
    steps.clear()
    assert decode_beside(images, torch.device("cpu")) is images
    assert steps == ["decode"]
