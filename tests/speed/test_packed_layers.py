"""The layers of a network for a graphics card, which is not needed to compare them."""

import pytest
import torch
from torch import nn

import darknet_torch as dt
from darknet_torch.network.folding import fold
from darknet_torch.speed import packed_layers
from darknet_torch.speed.packed_layers import SeparableMaxPool

CFG = """[net]
width=32
height=32
channels=3
[convolutional]
filters=16
size=3
stride=1
pad=1
activation=leaky
[maxpool]
size=2
stride=2
[maxpool]
size=5
stride=1
[route]
layers=-2
[maxpool]
size=13
stride=1
[route]
layers=-1,-3
[convolutional]
filters=8
size=1
"""


@pytest.mark.parametrize("size", [5, 9, 13])
@pytest.mark.parametrize("shape", [(2, 3, 13, 13), (1, 2, 4, 30)])
def test_a_separable_maximum_is_the_same(size: int, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape) - 3  # padding is never the maximum
    want = nn.functional.max_pool2d(x, size, 1, size // 2)
    assert torch.equal(SeparableMaxPool(size)(x), want)


def test_large_poolings_are_separated() -> None:
    torch.manual_seed(0)
    network = dt.build(CFG)
    x = torch.rand(2, 3, 32, 32)
    want = network(x)
    packed_layers._separate(network)
    kinds = [type(each) is SeparableMaxPool for each in network.layers]
    assert [index for index, is_separated in enumerate(kinds) if is_separated] == [2, 4]
    assert torch.equal(network(x), want)


def test_a_stem_takes_the_place_of_convolution_and_pooling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stem_for(block: nn.Module, *_: object, pooled: bool) -> nn.Module:
        assert pooled
        return nn.Sequential(block, nn.MaxPool2d(2, 2))

    monkeypatch.setattr(packed_layers, "stem_for", stem_for)
    folded = fold(dt.build(CFG), copy=True)
    x = torch.rand(2, 3, 32, 32)
    want, result = folded(x), fold(folded, copy=True)
    packed_layers._use_stem(result, folded, [torch.float16] * len(folded.plan))
    assert isinstance(result.layers[1], nn.Identity)
    assert torch.equal(result(x), want)
