"""The learning rate of each batch, against tables that Darknet's own programs printed."""

import json
from pathlib import Path

import pytest

from darknet_torch.errors import CfgError
from darknet_torch.loading import plan
from darknet_torch.network.plan import Plan
from darknet_torch.training.learning_rate import rate

TABLES = Path(__file__).resolve().parents[3] / "shared/oracle/train/lr_policies.json"
NET = "[net]\nwidth=8\nheight=8\nchannels=3\nbatch=8\nsubdivisions=2\n"
RECORDED = json.loads(TABLES.read_text())["tables"] if TABLES.is_file() else {}
FORKS = {"pjreddie": "pjreddie", "AlexeyAB": "alexeyab"}
CASES = [(name, fork) for name, table in RECORDED.items() for fork in FORKS if fork in table]


def of(lines: list[str], dialect: str = "alexeyab") -> Plan:
    """The plan of a cfg with these lines in [net]; the first of two equal keys counts."""
    options = [*lines, "learning_rate=0.004", "max_batches=1000"]
    keys = [line.split("=")[0] for line in options]
    first = [line for n, line in enumerate(options) if keys.index(line.split("=")[0]) == n]
    return plan(NET + "\n".join(first) + "\n[convolutional]\n", dialect=dialect)


@pytest.mark.skipif(not RECORDED, reason="../shared is missing")
@pytest.mark.parametrize(("name", "fork"), CASES or [("", "")])
def test_recorded(name: str, fork: str) -> None:
    here = of(RECORDED[name]["cfg"], FORKS[fork])
    for batch, recorded in RECORDED[name][fork]:
        ours = rate(here.net, here.context.dialect, batch)
        assert ours == pytest.approx(recorded, rel=1e-6, abs=1e-30), batch


@pytest.mark.parametrize(
    ("lines", "batch", "expected"),
    [
        (["policy=steps", "steps=10,20", "scales=.1,.1"], 10, 0.0004),
        (["policy=steps", "steps=10,20", "scales=.1,.1", "burn_in=20"], 10, 0.004 / 16),
        (["policy=step", "step=10", "scale=.5"], 25, 0.001),
        (["policy=poly", "power=2"], 500, 0.001),
        (["policy=sgdr", "sgdr_cycle=100", "learning_rate_min=0"], 150 + 50, 0.002),
    ],
)
def test_by_hand(lines: list[str], batch: int, expected: float) -> None:
    """So that something runs without the recordings."""
    here = of(lines)
    assert rate(here.net, here.context.dialect, batch) == pytest.approx(expected, rel=1e-6)


def test_random_is_a_function_of_seed_and_batch() -> None:
    here = of(["policy=random", "power=1"])
    rates = [rate(here.net, here.context.dialect, n, seed=1) for n in range(100)]
    assert rates == [rate(here.net, here.context.dialect, n, seed=1) for n in range(100)]
    assert rates != [rate(here.net, here.context.dialect, n, seed=2) for n in range(100)]
    assert min(rates) < 0.0004 < 0.0036 < max(rates) < 0.004


def test_a_policy_of_the_other_fork_is_constant() -> None:
    here = of(["policy=sgdr"], "pjreddie")
    assert rate(here.net, here.context.dialect, 500) == pytest.approx(0.004)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["policy=step", "step=0"], "step must not be 0"),
        (["policy=poly", "max_batches=0"], "max_batches must be given"),
        (["policy=sgdr", "sgdr_cycle=0"], "must be at least 1"),
        (["policy=sgdr", "sgdr_mult=0"], "must be at least 1"),
    ],
)
def test_what_would_divide_by_zero(lines: list[str], message: str) -> None:
    here = of(lines)
    with pytest.raises(CfgError, match=message):
        rate(here.net, here.context.dialect, 5)
