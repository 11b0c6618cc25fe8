"""A few thousand random cfgs and weights files; tools/fuzz.py runs as many as one likes."""

import random
from pathlib import Path

import pytest
import torch

from darknet_torch.errors import UsageError
from darknet_torch.parsing.dialect import ALEXEYAB

pytest.importorskip("resource", reason="the tool limits memory as Unix does")
import fuzz


@pytest.mark.parametrize("block", range(4))
def test_only_errors_of_this_package_come_out(block: int) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        counts, failures = fuzz.run_some(
            range(500 * block, 500 * (block + 1)), fuzz.Settings(seed=1)
        )
    finally:
        torch.set_num_threads(threads)
    assert not failures, "\n\n".join(f"{f.what}\n{f.cfg}" for f in failures)
    assert counts.total() == 500
    # else nothing was tried
    assert counts["loaded"] >= 5
    assert counts["error after computed"] >= 20
    assert counts["error"] >= 100


def test_cases_come_from_their_number_alone() -> None:
    def made(number: int) -> str:
        return str(fuzz.make_cfg(random.Random(f"1 {number}"), ALEXEYAB))

    assert made(5) == made(5)
    assert len({made(number) for number in range(50)}) > 45


@pytest.mark.parametrize("kind", ["exception", "lines", "hang"])
def test_failures_are_seen(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(*_: object, **__: object) -> None:
        if kind == "exception":
            raise KeyError("x")
        if kind == "lines":
            raise UsageError("two\nlines")
        while True:
            pass

    monkeypatch.setattr(fuzz.dt, "plan", plan)
    stage, failure = fuzz.check(3, fuzz.Settings(limit=0.2), tmp_path)
    assert stage == "failed"
    wanted = {"exception": "KeyError", "lines": "AssertionError", "hang": "longer than 0.2 s"}
    assert wanted[kind] in failure.what
    kept = fuzz.keep(failure, tmp_path / "out")
    assert kept.read_bytes().decode("utf-8", "surrogatepass") == failure.cfg
