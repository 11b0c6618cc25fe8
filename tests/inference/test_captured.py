"""Recorded decoding gives what decoding gives; the recording itself needs a card."""

import pickle
import weakref
from collections.abc import Callable, Sequence

import pytest
import torch
from small_network import CFG
from torch import Tensor

import darknet_torch as dt
from darknet_torch.inference import captured
from darknet_torch.inference.captured import Decoding
from darknet_torch.inference.decoding import decode
from darknet_torch.inference.detector import Detector
from darknet_torch.inference.postprocess import nan_sums


class Replayed:
    """Stands for a CUDA graph: it calls the function at every replay."""

    made = 0

    def __init__(self, run: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor]) -> None:
        type(self).made += 1
        self.run, self.inputs = run, inputs
        self.outputs = tuple(run(*inputs))

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.outputs = tuple(self.run(*self.inputs))
        return self.outputs


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> Detector:
    monkeypatch.setattr(captured, "CudaGraph", Replayed)
    monkeypatch.setattr(captured, "OFTEN", 1)
    monkeypatch.setattr(Replayed, "made", 0)
    torch.manual_seed(0)
    return Detector(dt.build(CFG), threshold=0.5)


def raw_of(detector: Detector, images: int, *, lift: float = 0.0) -> tuple[Tensor, ...]:
    """Return random outputs; the more they are lifted, the more boxes pass."""
    plan = detector.network.plan
    shapes = [plan[plan[index].inputs[0]].shape for index in plan.heads]
    return tuple(torch.randn(images, *shape) + lift for shape in shapes)


def assert_equal(found: tuple[captured.Candidates, Tensor], detector: Detector, raw) -> None:
    candidates, sums = found
    for got, want in zip(candidates, decode(detector, raw), strict=True):
        assert torch.equal(got, want)
    assert torch.equal(sums, nan_sums(raw))


def test_the_same_boxes(detector: Detector) -> None:
    decoding = Decoding()
    for _ in range(3):
        raw = raw_of(detector, 2, lift=-2)
        found = decoding.replayed(detector, raw)
        assert found is not None
        assert_equal(found, detector, raw)
    assert Replayed.made == 1


def test_another_shape_is_recorded_anew(detector: Detector) -> None:
    decoding = Decoding()
    for images in (1, 3, 3):
        raw = raw_of(detector, images, lift=-3)
        found = decoding.replayed(detector, raw)
        assert found is not None
        assert_equal(found, detector, raw)
    assert Replayed.made == 2


def test_only_shapes_that_come_often(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured, "OFTEN", 3)
    decoding = Decoding()
    for images in (1, 2, 1, 2):
        assert decoding.replayed(detector, raw_of(detector, images, lift=-3)) is None
    for images in (1, 2, 1):
        assert decoding.replayed(detector, raw_of(detector, images, lift=-3)) is not None
    assert Replayed.made == 2


def test_not_more_shapes_than_there_is_room_for(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captured, "MOST_SHAPES", 2)
    decoding = Decoding()
    found = [decoding.replayed(detector, raw_of(detector, n, lift=-3)) for n in (1, 2, 3, 1)]
    assert [each is None for each in found] == [False, False, True, False]


def test_thresholds_by_class(detector: Detector) -> None:
    detector = Detector(detector.network, threshold={"*": 0.5, "0": 0.9})
    raw = raw_of(detector, 2, lift=-2)
    found = Decoding().replayed(detector, raw)
    assert found is not None
    assert_equal(found, detector, raw)


def test_more_boxes_than_places_are_decoded_without_it_once(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captured, "PLACES", 4)
    decoding = Decoding()
    raw = raw_of(detector, 2, lift=6)
    assert decoding.replayed(detector, raw) is None
    while (found := decoding.replayed(detector, raw)) is None:
        assert Replayed.made < 9
    assert_equal(found, detector, raw)


def test_nan_is_told(detector: Detector) -> None:
    raw = raw_of(detector, 2, lift=-3)
    raw[0][1, 0, 0, 0] = torch.nan
    found = Decoding().replayed(detector, raw)
    assert found is not None
    assert found[1].isnan().tolist() == [False, True]


def test_what_cannot_be_recorded_is_decoded_as_before(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        calls.append(1)
        raise RuntimeError("operation not permitted when stream is capturing")

    calls = list[int]()
    monkeypatch.setattr(captured, "CudaGraph", refuse)
    decoding = Decoding()
    for _ in range(2):
        assert decoding.replayed(detector, raw_of(detector, 2)) is None
    assert len(calls) == 1  # it is not tried again


def test_what_yields_other_boxes_is_not_used(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def doubled(self: Replayed, *inputs: Tensor) -> tuple[Tensor, ...]:
        (flat,) = self.run(*inputs)
        flat[len(inputs) + 2 :] *= 2
        return (flat,)

    monkeypatch.setattr(Replayed, "__call__", doubled)
    decoding = Decoding()
    for _ in range(2):
        assert decoding.replayed(detector, raw_of(detector, 2, lift=-2)) is None
    assert Replayed.made == 1


def test_on_the_cpu_nothing_is_recorded(detector: Detector) -> None:
    raw = raw_of(detector, 2, lift=-2)
    assert_equal(Decoding()(detector, raw), detector, raw)
    assert not Replayed.made


def test_a_detector_is_freed_with_its_network_when_nobody_has_it(detector: Detector) -> None:
    detector = Detector(detector.network)
    gone = weakref.ref(detector)
    list(detector.stream([torch.zeros(3, 32, 32, dtype=torch.uint8)]))
    del detector
    assert gone() is None


def test_it_is_pickled_without_what_is_recorded(detector: Detector) -> None:
    decoding = Decoding()
    decoding.replayed(detector, raw_of(detector, 1, lift=-3))
    assert decoding._recordings
    again = pickle.loads(pickle.dumps(decoding))
    assert not again._recordings


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card here")
def test_on_a_card() -> None:
    torch.manual_seed(0)
    detector = Detector(dt.build(CFG).cuda(), threshold=0.5)
    decoding = Decoding()
    for number in range(6):
        raw = tuple(each.cuda() for each in raw_of(detector, 2, lift=-2))
        found = decoding.replayed(detector, raw)
        assert (found is not None) == (number >= captured.OFTEN - 1)
        want = decode(detector, raw).cpu(nan_sums(raw))
        found = found or want
        for got, each in zip((*found[0], found[1]), (*want[0], want[1]), strict=True):
            assert torch.allclose(got, each, rtol=1e-6)
