"""The time of calls on a graphics card."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from darknet_torch.speed import card_trials
from darknet_torch.speed.card_trials import CALLS, REPLAYS, TRIALS, milliseconds


def test_the_fastest_trial_counts_and_is_shared_by_the_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a clock in place of a card; inputs are taken in turns."""
    given, log, seconds = list[float](), list[str](), iter((8.0, 4.0, 6.0))

    class Event:
        def __init__(self, **_: Any) -> None:
            pass

        def record(self) -> None:
            log.append("event")

        def synchronize(self) -> None:
            log.append("wait")

        def elapsed_time(self, _: "Event") -> float:
            return next(seconds)

    def graph(run: Any, inputs: Any) -> SimpleNamespace:
        (y,) = run(*inputs)
        assert float(y) == 20
        return SimpleNamespace(graph=SimpleNamespace(replay=lambda: log.append("replay")))

    def run(x: Tensor) -> Tensor:
        given.append(float(x))
        return 10 * x

    monkeypatch.setattr(card_trials, "CudaGraph", graph)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    found = milliseconds(run, [(torch.tensor(1.0),), (torch.tensor(2.0),)])
    assert found == pytest.approx(4.0 / (REPLAYS * CALLS))
    assert given == [1.0, 2.0] * (CALLS // 2)
    assert log == ["replay", "event", *["replay"] * REPLAYS, "event", "wait"] * TRIALS


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card here")
def test_more_work_takes_longer() -> None:
    small, large = (torch.rand(size, size).half().cuda() for size in (512, 4096))
    times = [milliseconds(torch.mm, [(each, each)]) for each in (small, large)]
    assert times[0] < times[1]
