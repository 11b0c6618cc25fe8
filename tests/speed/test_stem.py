"""Which first convolutions a graphics card computes by a kernel of their own."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from darknet_torch.layers.base import Shape
from darknet_torch.layers.blocks import ConvBlock
from darknet_torch.parsing.dialect import ALEXEYAB
from darknet_torch.speed import stem
from darknet_torch.speed.stem import Stem, can_be_stem, stem_for

SHAPE = Shape(3, 32, 32)


def block(filters: int = 32, size: int = 3, **options: Any) -> ConvBlock:
    settings = {"activation": "leaky", "padding": 1} | options
    return ConvBlock(3, filters, size, dialect=ALEXEYAB, **settings).eval()


@pytest.fixture
def on_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let weights seem to lie on a card, and Triton to be there."""
    monkeypatch.setattr(Tensor, "is_cuda", True)
    monkeypatch.setattr(stem.util, "find_spec", lambda _: SimpleNamespace())


@pytest.mark.usefixtures("on_a_card")
@pytest.mark.parametrize(
    "options",
    [
        {"filters": 24},
        {"size": 5, "padding": 2},
        {"padding": 0},
        {"strides": (4, 4)},
        {"strides": (1, 2)},
        {"groups": 3, "filters": 48},
        {"normalized": True},
        {"xnor": True},
        {"activation": "selu"},
    ],
)
def test_others_are_left_to_cudnn(options: dict[str, Any]) -> None:
    assert can_be_stem(block(), torch.float16)
    assert not can_be_stem(block(**options), torch.float16)


@pytest.mark.usefixtures("on_a_card")
def test_only_in_16_bits() -> None:
    assert not can_be_stem(block(), torch.float32)
    assert not can_be_stem(nn.Identity(), torch.float16)


def test_only_on_a_card() -> None:
    assert not can_be_stem(block(), torch.float16)
    assert stem_for(block(), torch.float16, SHAPE, pooled=True) is None


@pytest.mark.usefixtures("on_a_card")
@pytest.mark.parametrize(("mine", "cudnn"), [(1.0, 2.0), (2.0, 1.0)])
def test_the_faster_one_is_taken(
    mine: float, cudnn: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter((mine, cudnn))
    monkeypatch.setattr(stem, "milliseconds", lambda *_: next(times))
    conv = block()

    def compute(self: Stem, x: Tensor) -> Tensor:
        return nn.functional.max_pool2d(conv(x.float()), 2).to(x.dtype)

    monkeypatch.setattr(Stem, "forward", compute)
    chosen = stem_for(conv, torch.bfloat16, SHAPE, pooled=True)
    assert (chosen is not None) == (mine < cudnn)
    if chosen is not None:
        assert chosen.pool == 2


@pytest.mark.usefixtures("on_a_card")
def test_a_wrong_one_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stem, "milliseconds", lambda *_: 1.0)
    monkeypatch.setattr(Stem, "forward", lambda self, x: torch.zeros(8, 32, 16, 16))
    assert stem_for(block(), torch.bfloat16, SHAPE, pooled=True) is None


@pytest.mark.usefixtures("on_a_card")
def test_one_that_cannot_be_compiled_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Stem, x: Tensor) -> Tensor:
        raise ValueError("no such instruction")

    monkeypatch.setattr(Stem, "forward", fail)
    with pytest.warns(match="left to cuDNN: ValueError: no such instruction"):
        assert stem_for(block(), torch.bfloat16, SHAPE, pooled=False) is None
