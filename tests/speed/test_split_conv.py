"""Which convolutions a graphics card computes in parts, and in how many."""

import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darknet_torch.layers.activation import activate
from darknet_torch.layers.blocks import ConvBlock
from darknet_torch.parsing.dialect import ALEXEYAB
from darknet_torch.speed import split_conv
from darknet_torch.speed.split_conv import (
    TILES,
    CardTiles,
    ConvProblem,
    Split,
    best_split,
    can_split,
    split_for,
)

Module = TypeVar("Module", bound=nn.Module)
SMALL = CardTiles(64, 128, 64, 4, 4)
CPU = torch.device("cpu")
CASE = ConvProblem(CPU, torch.bfloat16, (1, 128, 5, 6), (32, 128, 3, 3), "leaky")


def last(module: Module) -> Module:
    """Lay weights out as `optimize` does."""
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return module


def block(channels: int = 128, filters: int = 64, size: int = 3, **options: Any) -> ConvBlock:
    settings: dict[str, Any] = {
        "activation": "leaky",
        "padding": size // 2,
        "dialect": ALEXEYAB,
    } | options
    made = ConvBlock(channels, filters, size, **settings).eval()
    return last(made)


@pytest.fixture
def on_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let weights seem to lie on a card, and Triton to be there."""
    monkeypatch.setattr(Tensor, "is_cuda", True)
    monkeypatch.setattr("darknet_torch.speed.split_conv.util.find_spec", lambda _: True)


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[Any, float]]:
    """Times of tiles (None: of cuDNN) on a card with 132 processors, computed by torch."""
    times: dict[Any, float] = {}

    def computed(x: Tensor, weight: Tensor, bias: Tensor, split: Split, activation: str) -> Tensor:
        if math.isnan(times[split]):
            raise RuntimeError("out of resource: shared memory")
        y = activate(activation, F.conv2d(x, weight, bias, padding=1))
        return 1.1 * y if times[split] < 0 else y

    card = SimpleNamespace(multi_processor_count=132)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    monkeypatch.setattr(split_conv, "split_conv", computed)
    monkeypatch.setattr(split_conv, "milliseconds", lambda run, _: times[run.keywords.get("split")])
    best_split.cache_clear()
    yield times
    best_split.cache_clear()


def candidates() -> list[Split]:
    return [split_for(tiles, 132 * programs, 30, 32, 1152) for tiles, programs in TILES]


@pytest.mark.parametrize(
    ("programs", "pixels", "filters", "products", "parts"),
    [
        (132, 169, 1024, 9216, 5),  # 24 programs without parts
        (264, 169, 1024, 9216, 11),
        (132, 13, 128, 9216, 16),  # not more
        (132, 13, 128, 128, 2),  # there are not more products
        (132, 13, 128, 1152, 9),  # 18 blocks: 16 parts would be 9 of two blocks
        (132, 1024, 4096, 9216, 1),
    ],
)
def test_as_many_parts_as_a_card_computes_at_once(
    programs: int, pixels: int, filters: int, products: int, parts: int
) -> None:
    assert split_for(SMALL, programs, pixels, filters, products) == Split(SMALL, parts)


@pytest.mark.usefixtures("on_a_card")
@pytest.mark.parametrize(
    "options",
    [
        {"channels": 192},
        {"filters": 24},
        {"size": 5},
        {"size": 1},  # few products
        {"padding": 0},
        {"strides": (2, 2)},
        {"groups": 2},
        {"dilation": 2},
        {"normalized": True},
        {"xnor": True},
        {"activation": "selu"},
    ],
)
def test_others_are_left_to_cudnn(options: dict[str, Any]) -> None:
    assert can_split(block(), torch.float16)
    assert can_split(block(channels=1024, size=1), torch.float16)
    assert not can_split(block(**options), torch.float16)


@pytest.mark.usefixtures("on_a_card")
def test_only_in_16_bits_and_channels_last() -> None:
    assert not can_split(block(), torch.float32)
    assert not can_split(nn.Identity(), torch.float16)
    wide = block()
    wide.conv.weight.data = wide.conv.weight.data.contiguous()
    assert not can_split(wide, torch.float16)


def test_only_on_a_card() -> None:
    assert not can_split(block(), torch.float16)


@pytest.mark.parametrize(("fastest", "time"), [(0, 0.5), (3, 0.9), (2, 0.99), (5, 2.0)])
def test_what_is_clearly_faster_than_cudnn_is_chosen(
    fastest: int, time: float, trials: dict[Any, float]
) -> None:
    trials.update({None: 1.0} | dict.fromkeys(candidates(), 3.0))
    trials[candidates()[fastest]] = time
    assert best_split(CASE) == (candidates()[fastest] if time < 0.97 else None)


def test_what_is_wrong_or_does_not_fit_is_left_out(trials: dict[Any, float]) -> None:
    trials.update({None: 1.0} | dict.fromkeys(candidates(), -1.0))
    trials |= {candidates()[0]: math.nan, candidates()[1]: 0.9}
    assert best_split(CASE) == candidates()[1]


def test_where_nothing_runs_there_is_a_warning(trials: dict[Any, float]) -> None:
    trials.update({None: 1.0} | dict.fromkeys(candidates(), math.nan))
    with pytest.warns(match="left to cuDNN: RuntimeError: out of resource") as caught:
        assert best_split(CASE) is None
        assert best_split(CASE) is None
    assert len(caught) == 1


def test_many_pixels_are_not_tried(trials: dict[Any, float]) -> None:
    assert best_split(CASE._replace(shape=(2, 128, 26, 26))) is None
    assert not trials


def test_it_stays_one_call_in_a_traced_network() -> None:
    class Conv(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = block().conv.bfloat16()

        def forward(self, x: Tensor) -> Tensor:
            weight, bias = self.conv.weight, self.conv.bias
            assert bias is not None
            return split_conv.split_conv(x, weight, bias, Split(SMALL, 3), "leaky")

    x = torch.zeros(2, 128, 6, 5, dtype=torch.bfloat16)
    graph = torch.export.export(Conv(), (x.contiguous(memory_format=torch.channels_last),))
    (node,) = [each for each in graph.graph.nodes if "split_conv" in str(each.target)]
    assert node.args[3] == [*SMALL, 3]
    made = node.meta["val"]
    assert made.shape == (2, 64, 6, 5) and made.stride() == (1920, 1, 320, 64)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card here")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("size", "activation"), [(3, "mish"), (1, "linear")])
def test_all_tiles_on_a_card(dtype: torch.dtype, size: int, activation: str) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 256, 13, 11), torch.randn(48, 256, size, size) / (16 * size)
    x, weight = (
        each.to(dtype).cuda().contiguous(memory_format=torch.channels_last) for each in (x, weight)
    )
    bias = torch.randn(48, device="cuda").to(dtype)
    y = F.conv2d(x.double(), weight.double(), bias.double(), padding=size // 2)
    want = activate(activation, y)
    for tiles, _ in TILES:
        for parts in (1, 4):
            y = split_conv.split_conv(x, weight, bias, Split(tiles, parts), activation)
            assert float((y - want).abs().max() / want.abs().max()) < 1e-2
            again = split_conv.split_conv(x, weight, bias, Split(tiles, parts), activation)
            assert torch.equal(again, y)
