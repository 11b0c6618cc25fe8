"""Winograd's convolutions against torch's, in double precision where that is the judge."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import darknet_torch as dt
from darknet_torch.dialect import ALEXEYAB
from darknet_torch.fold import fold
from darknet_torch.layers.base import Shape
from darknet_torch.layers.blocks import ConvBlock
from darknet_torch.optimized import optimize
from darknet_torch.packed import PackedConv, packed
from darknet_torch.winograd import WinogradConv, suits, with_winograd

needs_onednn = pytest.mark.skipif(not torch._C._has_mkldnn, reason="torch without oneDNN")
WAYS = [pytest.param(True, marks=needs_onednn, id="packed"), pytest.param(False, id="plain")]


def block(channels: int, filters: int, activation: str = "leaky", **options: int) -> ConvBlock:
    torch.manual_seed(channels + filters)
    return ConvBlock(
        channels,
        filters,
        options.pop("size", 3),
        dialect=ALEXEYAB,
        activation=activation,
        padding=options.pop("padding", 1),
        **options,
    ).eval()


@pytest.mark.parametrize("packs", WAYS)
@pytest.mark.parametrize("size", [(13, 13), (26, 26), (7, 12), (12, 7), (2, 2), (1, 5), (1, 1)])
@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_it_equals_the_convolution(packs: bool, size: tuple[int, int], batch: int) -> None:
    plain = block(24, 40)
    x = torch.randn(batch, 24, *size)
    conv = plain.conv
    want = F.conv2d(x.double(), conv.weight.double(), conv.bias.double(), padding=1)
    want = F.leaky_relu(want, 0.1).float()
    for form in (torch.contiguous_format, torch.channels_last):
        got = WinogradConv(plain, tiles=49 if packs else None)(x.contiguous(memory_format=form))
        assert got.shape == want.shape
        assert (got - want).abs().max() <= 3e-6 * want.abs().max()


@pytest.mark.parametrize("activation", ["linear", "mish", "relu", "logistic"])
@torch.no_grad()
def test_activations_come_after_it(activation: str) -> None:
    plain = block(8, 8, activation)
    x = torch.randn(2, 8, 9, 10)
    assert torch.allclose(WinogradConv(plain)(x), plain(x), atol=1e-5)


def test_only_what_it_makes_faster() -> None:
    map_ = Shape(256, 26, 26)
    assert suits(block(256, 256), map_)
    assert not suits(block(64, 64), Shape(64, 104, 104))
    assert not suits(block(256, 256), Shape(256, 3, 3))
    for options in ({"strides": (2, 2)}, {"padding": 0}, {"groups": 2}, {"dilation": 2}):
        assert not suits(block(256, 256, **options), map_)  # type: ignore[arg-type]
    assert not suits(block(256, 256, size=1, padding=0), map_)
    assert not suits(block(256, 256).bfloat16(), map_)


CFG = """[net]
width=52
height=44
channels=3
[convolutional]
batch_normalize=1
filters=192
size=3
stride=2
pad=1
activation=leaky
[convolutional]
batch_normalize=1
filters=192
size=3
pad=1
activation=leaky
[convolutional]
filters=14
size=1
activation=linear
[yolo]
mask=0,1
anchors=8,12, 18,16
classes=2
num=2
"""


@pytest.fixture(scope="module")
def network() -> dt.Network:
    torch.manual_seed(2)
    return dt.build(CFG)


@needs_onednn
@pytest.mark.parametrize("size", [(44, 52), (32, 64), (46, 54)])
@torch.no_grad()
def test_an_optimized_network_has_them(network: dt.Network, size: tuple[int, int]) -> None:
    fast = optimize(network, compile=False)
    kinds = [type(layer) for layer in fast.network.layers]
    assert kinds[:3] == [PackedConv, WinogradConv, PackedConv]
    x = torch.rand(2, 3, *size)
    ((got,), (want,)) = fast(x), network(x)
    assert (got - want).abs().max() <= 5e-6 * want.abs().max()


@torch.no_grad()
def test_a_compiler_sees_plain_modules(network: dt.Network) -> None:
    turned = with_winograd(fold(network))
    assert [type(layer) for layer in turned.layers][1] is WinogradConv
    assert turned.layers[0] is not None and isinstance(turned.layers[2].conv, nn.Conv2d)
    torch.compiler.reset()  # one function is compiled for all networks of a process
    run = torch.compile(turned, backend="eager", fullgraph=True)
    x = torch.rand(1, 3, 44, 52)
    ((got,), (want,)) = run(x), network(x)
    assert (got - want).abs().max() <= 5e-6 * want.abs().max()


@needs_onednn
def test_the_rest_is_shared(network: dt.Network) -> None:
    folded = fold(network)
    assert packed(folded, torch.channels_last).layers[3] is folded.layers[3]
    assert with_winograd(folded).layers[0] is folded.layers[0]
