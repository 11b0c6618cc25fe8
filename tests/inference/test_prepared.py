"""Images that are resized on the way, or together on the device of the network."""

import numpy as np
import pytest
import torch
from small_network import CFG

import darknet_torch as dt
from darknet_torch.images.resizing import letterboxing, stretching
from darknet_torch.inference import prepared
from darknet_torch.inference.detector import Detector
from darknet_torch.inference.prepared import Reading, as_batch


@pytest.fixture
def network() -> dt.Network:
    torch.manual_seed(1)
    return dt.build(CFG, dialect="alexeyab")


@pytest.fixture
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = rng.integers(20, 90, (7, 2))
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def resized_on_the_device(monkeypatch) -> None:
    monkeypatch.setattr(prepared, "_is_for_device", lambda image, _: image.dtype == torch.uint8)


@pytest.mark.parametrize("fitting", [stretching, letterboxing])
def test_the_same_input_either_way(network, images, fitting, monkeypatch):
    here = [Reading.of(network, fitting, 0)(each) for each in images]
    assert not any(each.waits for each in here)
    resized_on_the_device(monkeypatch)
    there = [Reading.of(network, fitting, 0)(each) for each in images]
    assert all(each.waits and each.image.dtype == torch.uint8 for each in there)
    expected = torch.stack([each.pixels for each in here])
    for batch in (as_batch(here, network), as_batch(there, network)):
        torch.testing.assert_close(batch, expected, atol=2e-7, rtol=0)
    mixed = [*here[:3], *there[3:]]
    torch.testing.assert_close(as_batch(mixed, network), expected, atol=2e-7, rtol=0)
    for a, b in zip(here, there, strict=True):
        assert a.placement(True) == b.placement(True)
        assert torch.equal(a.pixels, b.pixels)


def test_fractions_are_resized_here(network, monkeypatch):
    resized_on_the_device(monkeypatch)
    assert not Reading.of(network, stretching, 0)(torch.rand(3, 20, 30)).waits


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("letterbox", [False, True])
def test_the_same_boxes_either_way(network, images, letterbox, batch_size, monkeypatch):
    chosen = {"letterbox": letterbox, "batch_size": batch_size, "threshold": 0.2}
    expected = dt.detect(network, images, **chosen)
    resized_on_the_device(monkeypatch)
    found = dt.detect(network, images, **chosen)
    assert sum(map(len, expected)) > 10
    for a, b in zip(expected, found, strict=True):
        assert torch.equal(a.class_id, b.class_id)
        torch.testing.assert_close(a.xyxy, b.xyxy, atol=1e-3, rtol=0)


def test_the_next_batch_is_launched_before_the_boxes_of_the_last(network, images):
    """A device that is no CPU has one batch in flight."""
    steps = []

    class Elsewhere:
        def __getattr__(self, name):
            return getattr(network, name)

        device = torch.device("meta")  # no CPU, as far as the stream can tell

    class Watched(Detector):
        def forward(self, images):
            steps.append("forward")
            self.network = network
            outputs = super().forward(images)
            self.network = elsewhere
            return outputs

        def postprocess(self, outputs, images):
            steps.append("postprocess")
            return super().postprocess(outputs, images)

    elsewhere = Elsewhere()
    detector = Watched(elsewhere, batch_size=2)
    detector.prepare = Detector(network).prepare
    found = [outcome.result for outcome in detector.stream(iter(images))]
    assert steps == ["forward", *["forward", "postprocess"] * 3, "postprocess"]
    for a, b in zip(found, dt.detect(network, images), strict=True):
        torch.testing.assert_close(a.xyxy, b.xyxy, atol=1e-3, rtol=0)
