"""A few thousand random cfgs and weights files; tools/fuzz.py runs as many as one likes."""

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from darknet_torch.dialect import ALEXEYAB
from darknet_torch.errors import UsageError

TOOL = Path(__file__).parents[1] / "tools" / "fuzz.py"


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    pytest.importorskip("resource", reason="the tool limits memory as Unix does")
    spec = importlib.util.spec_from_file_location("fuzz", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("block", range(4))
def test_only_errors_of_this_package_come_out(fuzz: ModuleType, block: int) -> None:
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


def test_cases_come_from_their_number_alone(fuzz: ModuleType) -> None:
    def made(number: int) -> str:
        return str(fuzz.make_cfg(random.Random(f"1 {number}"), ALEXEYAB))

    assert made(5) == made(5)
    assert len({made(number) for number in range(50)}) > 45


@pytest.mark.parametrize("kind", ["exception", "lines", "hang"])
def test_failures_are_seen(
    fuzz: ModuleType, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
