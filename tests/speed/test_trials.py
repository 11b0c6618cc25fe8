"""Which type a processor multiplies faster: the least time of each counts."""

import pytest
import torch

from darknet_torch.speed import trials
from darknet_torch.speed.trials import is_faster_than_float32


@pytest.mark.parametrize(("half", "faster"), [(1.0, True), (1.8, False), (3.0, False)])
def test_the_fastest_convolution_of_each_type_counts(
    half: float, faster: bool, monkeypatch: pytest.MonkeyPatch
):
    clock = [0.0]
    convolve = torch.conv2d

    def timed(x: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        clock[0] += half if x.dtype == torch.bfloat16 else 2.0
        return convolve(x, *args, **kwargs)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(torch, "conv2d", timed)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(trials, "is_supported", lambda *_: True)
    assert is_faster_than_float32.__wrapped__(torch.bfloat16) is faster


def test_a_type_that_the_processor_lacks_is_not_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trials, "is_supported", lambda *_: False)
    assert not is_faster_than_float32.__wrapped__(torch.bfloat16)


def test_functions_are_called_in_turns():
    calls: list[int] = []
    least = trials.least_seconds([lambda: calls.append(0), lambda: calls.append(1)])
    assert calls == [0, 1] * trials.TRIALS and all(0 <= each < 1 for each in least)


def test_one_call_in_twenty_that_nothing_interrupts_is_enough(monkeypatch: pytest.MonkeyPatch):
    clock, calls = [0.0], [0]

    def take(seconds: float) -> None:
        calls[0] += 1
        alone = calls[0] in (39, 40)
        clock[0] += seconds if alone else seconds + 10

    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    assert trials.is_clearly_faster(lambda: take(1), lambda: take(2))
