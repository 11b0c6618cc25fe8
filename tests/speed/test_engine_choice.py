"""The fastest engine is found by a trial, and remembered."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from darknet_torch.inference.converted import Converted
from darknet_torch.network import Network
from darknet_torch.speed import engine_choice
from darknet_torch.speed.engine_choice import choose

onnx = pytest.importorskip("onnx", reason='needs the extra "onnx"')
pytest.importorskip("onnxscript", reason='needs the extra "onnx"')
pytest.importorskip("onnxruntime", reason='needs the extra "onnx"')

pytestmark = pytest.mark.usefixtures("small_folder")


def test_the_fastest_engine_is_found_and_remembered(
    small_network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the one that was chosen slowed, another is."""
    calls = 0
    started = engine_choice._converted

    def counted(one: Network, name: str) -> Converted:
        nonlocal calls
        calls += 1
        return started(one, name)

    monkeypatch.setattr(engine_choice, "_converted", counted)
    first = choose(small_network)
    measured = calls
    assert first in engine_choice.CHOICES
    assert measured > 0
    assert choose(small_network) == first
    assert calls == measured

    slowed(first, small_network, monkeypatch)
    assert choose(small_network) == first  # as remembered
    second = choose(small_network, again=True)
    assert second != first
    assert choose(small_network) == second
    kept = list((Path("cache") / "engines").iterdir())
    assert {path.suffix for path in kept} == {".json", ".onnx"}
    assert second in json.loads((Path("cache") / "engines" / "engines.json").read_text()).values()


def slowed(name: str, small_network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Network.forward if name == "torch" else Converted.forward

    def late(self: Any, x: Tensor) -> Any:
        if name in ("torch", self.__dict__.get("engine")):
            time.sleep(0.05)
        return forward(self, x)

    monkeypatch.setattr(type(small_network) if name == "torch" else Converted, "forward", late)


def test_other_weights_are_another_choice(small_network: Network) -> None:
    choose(small_network)
    with torch.no_grad():
        next(small_network.parameters()).mul_(1.5)
    choose(small_network)
    choose(small_network, batch=2)
    assert len(json.loads((Path("cache") / "engines" / "engines.json").read_text())) == 3
    assert len(list((Path("cache") / "engines").glob("*.onnx"))) == 2


def test_a_damaged_memory_is_written_anew(small_network: Network) -> None:
    choose(small_network)
    memory = Path("cache") / "engines" / "engines.json"
    for damage in ("{", "[]", '{"a": 1}'):
        memory.write_text(damage)
        assert choose(small_network) in json.loads(memory.read_text()).values()


def test_a_cache_that_may_only_be_read(
    small_network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ONNX files are then made elsewhere, and the result is not kept."""
    monkeypatch.setattr(engine_choice, "_can_be_written", lambda _: False)
    assert choose(small_network) in engine_choice.CHOICES
    run = engine_choice.with_engine(small_network, "onnxruntime")
    with torch.no_grad():
        x = torch.rand(1, 3, 64, 64)
        assert torch.allclose(run(x)[0], small_network(x)[0], atol=1e-5)
    assert not Path("cache").exists()


def test_folders_that_can_be_written(tmp_path: Path) -> None:
    assert engine_choice._can_be_written(tmp_path / "a" / "b")
    assert not list((tmp_path / "a" / "b").iterdir())
    (tmp_path / "file").touch()
    assert not engine_choice._can_be_written(tmp_path / "file")
