"""Convolutions for a graphics card, which is not needed to compare them."""

from copy import deepcopy
from typing import Any, TypeVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import darknet_torch as dt
from darknet_torch.layers.activation import activate
from darknet_torch.layers.blocks import ConvBlock
from darknet_torch.network.folding import fold
from darknet_torch.parsing.dialect import ALEXEYAB
from darknet_torch.speed import card_conv, packed_layers
from darknet_torch.speed.card_conv import CardConv, can_be_card_conv, choose_splits
from darknet_torch.speed.split_conv import CardTiles, ConvProblem, Split

CFG = """[net]
width=64
height=32
channels=3
[convolutional]
filters=128
size=3
stride=4
pad=1
activation=leaky
[convolutional]
filters=128
size=3
stride=1
pad=1
activation=mish
[convolutional]
filters=21
size=1
stride=1
activation=linear
"""
Module = TypeVar("Module", bound=nn.Module)
SPLIT = Split(CardTiles(64, 128, 64, 4, 4), 3)


def last(module: Module) -> Module:
    """Lay weights out as `optimize` does."""
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return module


def block(filters: int = 21, size: int = 1, **options: Any) -> ConvBlock:
    settings: dict[str, Any] = {
        "activation": "linear",
        "padding": size // 2,
        "dialect": ALEXEYAB,
    } | options
    return last(ConvBlock(16, filters, size, **settings).eval())


@pytest.fixture
def on_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let weights seem to lie on a card, and Triton to be there."""
    monkeypatch.setattr(Tensor, "is_cuda", True)
    monkeypatch.setattr("darknet_torch.speed.split_conv.util.find_spec", lambda _: True)


@pytest.mark.usefixtures("on_a_card")
@pytest.mark.parametrize("activation", ["linear", "logistic", "leaky"])
@torch.no_grad()
def test_filters_of_zeros_change_nothing(activation: str) -> None:
    torch.manual_seed(0)
    plain = block(activation=activation)
    given = deepcopy(plain)
    conv = CardConv(plain, torch.bfloat16)
    weight = conv.block.conv.weight
    assert weight.shape == (24, 16, 1, 1) and not weight[21:].any()
    x = torch.rand(2, 16, 5, 6).bfloat16().contiguous(memory_format=torch.channels_last)
    y, want = conv(x.float()), given.bfloat16()(x)
    assert y.shape == want.shape
    torch.testing.assert_close(y, want)
    output = y.to(torch.float32, copy=True)  # as `Optimized` does: one copy, channels last
    assert output.is_contiguous(memory_format=torch.channels_last)
    assert plain.conv.weight.shape == (21, 16, 1, 1)  # others may hold it


@pytest.mark.usefixtures("on_a_card")
@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({"filters": 24}, torch.float16),
        ({}, torch.float32),
        ({"groups": 3, "filters": 21}, torch.float16),
        ({"activation": "normalize_channels"}, torch.float16),
        ({"normalized": True}, torch.float16),
    ],
)
def test_others_stay_as_they_are(options: dict[str, Any], dtype: torch.dtype) -> None:
    assert can_be_card_conv(block(), torch.float16)
    if "groups" in options:
        made = ConvBlock(21, 21, 1, activation="linear", dialect=ALEXEYAB, groups=3).eval()
    else:
        made = block(**options)
    assert not can_be_card_conv(made, dtype)


def test_only_on_a_card() -> None:
    assert not can_be_card_conv(block(), torch.float16)


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Split every convolution that can be, computed by torch."""
    asked = list[Any]()

    def best_split(problem: ConvProblem) -> Split:
        asked.append(tuple(problem[2:]))
        return SPLIT

    def split_conv(x: Tensor, weight: Tensor, bias: Tensor, split: Split, name: str) -> Tensor:
        assert split == SPLIT
        asked.append("computed")
        return activate(name, F.conv2d(x, weight, bias, padding=weight.shape[2] // 2))

    monkeypatch.setattr(card_conv, "best_split", best_split)
    monkeypatch.setattr(card_conv, "split_conv", split_conv)
    return asked


@pytest.mark.usefixtures("on_a_card")
@torch.inference_mode()
def test_a_network_chooses_for_each_shape(chosen: list[Any]) -> None:
    torch.manual_seed(0)
    folded = last(fold(dt.build(CFG), copy=True))
    x = torch.rand(2, 3, 32, 64)
    want = folded(x)
    dtypes = [torch.float32, torch.bfloat16, torch.bfloat16]
    network = fold(folded, copy=True)
    for index, (layer, dtype) in enumerate(zip(folded.layers, dtypes, strict=True)):
        made = CardConv(deepcopy(layer), dtype) if can_be_card_conv(layer, dtype) else layer
        network.layers[index] = made
    assert [isinstance(each, CardConv) for each in network.layers] == [False, True, True]
    choose_splits(network, x)
    assert chosen == [((2, 128, 8, 16), (128, 128, 3, 3), "mish")]
    torch.testing.assert_close(network(x).float(), want, rtol=0, atol=0.05)
    assert chosen.pop() == "computed"
    network(torch.rand(1, 3, 32, 64))  # another shape
    choose_splits(network, x)  # that is chosen already
    choose_splits(network, torch.rand(33, 3, 32, 64))  # of too many pixels
    assert len(chosen) == 2 and chosen.pop() == "computed"


def test_without_such_convolutions_nothing_runs() -> None:
    network = dt.build(CFG)
    network.layers[0].register_forward_pre_hook(lambda *_: pytest.fail())
    choose_splits(network, torch.rand(1, 3, 32, 64))


@pytest.mark.usefixtures("on_a_card")
def test_a_pass_that_fails_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    network = dt.build(CFG)
    network.layers[2] = CardConv(block(), torch.bfloat16)

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(network, "forward", fail)
    with pytest.warns(match="left to cuDNN: RuntimeError: out of memory"):
        choose_splits(network, torch.rand(1, 3, 32, 64))


@pytest.mark.usefixtures("on_a_card")
def test_they_are_among_the_packed_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_layers, "is_supported", lambda *_: False)
    folded = fold(dt.build(CFG), copy=True)
    made = packed_layers.packed(folded, [torch.bfloat16] * 3, torch.channels_last)
    kinds = [type(each) for each in made.layers]
    assert kinds == [packed_layers.Cast, packed_layers.Cast, CardConv]
    assert isinstance(made.layers[2], nn.Module) and made.layers[2].filters == 21


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card here")
@pytest.mark.parametrize("compiles", [False, True])
def test_a_network_on_a_card(compiles: bool) -> None:
    torch.manual_seed(0)
    network = dt.build(CFG).cuda().eval()
    fast = dt.optimize(network, dtype="float16", compile=compiles)
    convs = [each for each in fast.network.layers if isinstance(each, CardConv)]
    x = torch.rand(2, 3, 32, 64, device="cuda")
    with torch.no_grad():
        y, want = fast(x), network(x)
    assert isinstance(y, Tensor) and isinstance(want, Tensor)
    assert y.shape == want.shape
    assert float((y - want).abs().max() / want.abs().max()) < 1e-2
    assert [list(each.splits) for each in convs] == [[(2, 128, 8, 16)], []]
