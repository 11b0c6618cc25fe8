"""Devices by name; none but the processor is needed for this."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small_network import CFG

import darknet_torch as dt
from darknet_torch.errors import DarknetWarning, UsageError
from darknet_torch.network.device import as_device

NO_CARD = pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a card")


def test_names() -> None:
    assert as_device("cpu") == as_device(torch.device("cpu")) == torch.device("cpu")
    with pytest.raises(UsageError, match=r"device=gpu: .*cpu"):
        as_device("gpu")


@NO_CARD
def test_no_card() -> None:
    with pytest.raises(UsageError, match="device=cuda:1: torch finds no graphics card here"):
        as_device("cuda:1")


@pytest.mark.parametrize(
    ("cards", "mps", "expected"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto(cards: bool, mps: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.device] = []

    def zeros(size: int, device: torch.device) -> None:
        asked.append(device)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cards)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch, "zeros", zeros)
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    assert as_device("auto").type == expected
    assert asked == [torch.device(expected)]


def test_mps_without_its_fallback_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: None)
    monkeypatch.delenv("PYTORCH_ENABLE_MPS_FALLBACK", raising=False)
    with pytest.warns(DarknetWarning, match="set PYTORCH_ENABLE_MPS_FALLBACK=1 before torch is"):
        assert as_device("mps").type == "mps"


@pytest.mark.usefixtures("small_folder")
def test_load_takes_a_device() -> None:
    assert dt.load("net.cfg", "net.weights", device="meta").device.type == "meta"
    assert dt.load("net.cfg", "net.weights", device="cpu").device.type == "cpu"
    with pytest.raises(UsageError, match="device=gpu"):
        dt.load("net.cfg", "none.weights", device="gpu")  # before anything is read
    Path("x.onnx").write_bytes(b"")
    with pytest.raises(UsageError, match=r"x.onnx: device=cuda: engines read from the processor"):
        dt.load("x.onnx", device="cuda")


def test_folding_needs_no_float64_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """mps has none; meta stands for it here, as it has no values to compute with."""
    network = dt.build(CFG)
    double = torch.Tensor.double

    def checked(x: torch.Tensor, *rest: Any) -> torch.Tensor:
        assert x.device.type == "cpu"
        return double(x, *rest)

    monkeypatch.setattr(torch.Tensor, "double", checked)
    assert dt.optimize(network, compile=False).device == torch.device("cpu")
