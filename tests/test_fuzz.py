"""A few thousand random cfgs and weights files; tools/fuzz.py runs as many as one likes."""

import random
from pathlib import Path

import pytest
import torch

from darknet_torch.errors import UsageError
from darknet_torch.parsing.dialect import ALEXEYAB

pytest.importorskip("resource", reason="the tool limits memory as Unix does")
import fuzz
import fuzz_cfg
import fuzz_guided
import fuzz_targets


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
        return str(fuzz_cfg.make_cfg(random.Random(f"1 {number}"), ALEXEYAB))

    assert made(5) == made(5)
    assert len({made(number) for number in range(50)}) > 45


class TwoLinesError(UsageError):
    """What an error of this package cannot be by itself: its text is made printable."""

    def __str__(self) -> str:
        return "two\nlines"


@pytest.mark.parametrize("kind", ["exception", "lines", "hang"])
def test_failures_are_seen(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(*_: object, **__: object) -> None:
        if kind == "exception":
            raise KeyError("x")
        if kind == "lines":
            raise TwoLinesError("")
        while True:
            pass

    monkeypatch.setattr(fuzz_cfg.dt, "plan", plan)
    stage, failure = fuzz.check(3, fuzz.Settings(limit=0.2), tmp_path)
    assert stage == "failed"
    wanted = {"exception": "KeyError", "lines": "AssertionError", "hang": "longer than 0.2 s"}
    assert wanted[kind] in failure.what
    kept = fuzz.keep(failure, tmp_path / "out")
    assert kept.read_bytes().decode("utf-8", "surrogatepass") == failure.cfg


@pytest.mark.parametrize("target", sorted(fuzz_targets.TARGETS))
def test_targets_take_what_is_right_and_what_is_damaged(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if target in ("onnx", "openvino", "metadata"):
        pytest.importorskip("onnxscript", reason='needs the extra "onnx"')
    if target == "openvino":
        pytest.importorskip("openvino", reason='needs the extra "openvino"')
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seeds, rng = fuzz_targets.seeds(target), random.Random(1)
    if target not in ("pickle", "weights"):  # of those, some seeds do not fit the network
        for content in seeds[:3]:
            fuzz_targets.TARGETS[target](content, tmp_path)
    run = fuzz_guided.Run(target, tmp_path / "out")
    for _ in range(20):
        changed = bytearray(rng.choice(seeds))
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        run(bytes(changed))
    assert not run.seen


def test_failures_of_targets_are_kept_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(content: bytes, _: Path) -> None:
        if content == b"ours":
            raise UsageError("one line")
        raise {b"lines": TwoLinesError("")}.get(content, KeyError(content))

    monkeypatch.setitem(fuzz_targets.TARGETS, "names", fails)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run = fuzz_guided.Run("names", tmp_path / "out")
    for content in (b"ours", b"x", b"y", b"lines"):
        run(content)
    printed = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1].split(" ")[0] for line in printed] == ["KeyError", "a"]
    kept = [path for path in (tmp_path / "out").iterdir() if path.suffix != ".txt"]
    assert {path.read_bytes() for path in kept} == {b"x", b"lines"}
