"""Winograd's convolutions against torch's, in double precision where errors are compared."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import darknet_torch as dt
from darknet_torch.layers.base import Shape
from darknet_torch.layers.blocks import ConvBlock
from darknet_torch.parsing.dialect import ALEXEYAB
from darknet_torch.speed.inductor import compiled_for, trace
from darknet_torch.speed.onednn import is_supported
from darknet_torch.speed.optimized import optimize
from darknet_torch.speed.packed_layers import PackedConvBlock
from darknet_torch.speed.winograd import F2, F4, Transforms, WinogradConv, best_transforms

FLOAT, BFLOAT = torch.float32, torch.bfloat16
CPU = torch.device("cpu")
HOW = [pytest.param(F2, id="F2"), pytest.param(F4, id="F4")]

pytestmark = pytest.mark.skipif(not is_supported(CPU, FLOAT), reason="torch without oneDNN")
needs_bfloat16 = pytest.mark.skipif(
    not is_supported(CPU, BFLOAT), reason="a processor without bfloat16 products"
)


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


@pytest.mark.parametrize("how", HOW)
def test_one_dimension_is_exact(how: Transforms) -> None:
    """The matrices make y[i] = x[i] w[0] + x[i + 1] w[1] + x[i + 2] w[2]."""
    rng = np.random.default_rng(1)
    x, w = rng.random(how.side), rng.random(3)
    tiles, filters, outputs = (np.array(each) for each in how)
    assert np.allclose(outputs @ ((filters @ w) * (tiles @ x)), np.correlate(x, w), atol=1e-13)
    assert (how.side, how.step) == (len(tiles), len(outputs)) == (how.step + 2, len(outputs))


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("size", [(13, 13), (26, 26), (7, 12), (12, 7), (2, 2), (1, 5), (1, 1)])
@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_it_equals_the_convolution(how: Transforms, size: tuple[int, int], batch: int) -> None:
    plain = block(24, 40)
    x = torch.randn(batch, 24, *size)
    conv = plain.conv
    expected = F.conv2d(x.double(), conv.weight.double(), conv.bias.double(), padding=1)
    expected = F.leaky_relu(expected, 0.1).float()
    fast = WinogradConv(plain, how, Shape(24, *size), FLOAT)
    for form in (torch.contiguous_format, torch.channels_last):
        actual = fast(x.contiguous(memory_format=form))
        assert actual.shape == expected.shape
        assert (actual - expected).abs().max() <= 5e-6 * expected.abs().max()


@pytest.mark.parametrize("how", HOW)
@torch.no_grad()
def test_a_compiler_computes_the_same(how: Transforms) -> None:
    fast = WinogradConv(block(24, 40), how, Shape(24, 13, 18), FLOAT)
    x = torch.randn(2, 24, 13, 18).contiguous(memory_format=torch.channels_last)
    graph = trace(fast, [fast.conv], (x, torch.empty(fast.conv.size))).graph
    assert "darknet_torch.packed_conv" in str(graph)
    assert "matmul" not in str(graph)
    expected = fast(x)
    (actual,) = compiled_for(fast, x)(x)
    assert (actual - expected).abs().max() <= 5e-6 * expected.abs().max()


@pytest.mark.parametrize("how", HOW)
@torch.no_grad()
def test_other_sizes_and_batches(how: Transforms) -> None:
    plain = block(24, 40)
    fast = WinogradConv(plain, how, Shape(24, 13, 13), FLOAT)
    for batch, height, width in ((1, 13, 13), (3, 13, 13), (1, 20, 27), (2, 5, 9)):
        x = torch.randn(batch, 24, height, width)
        assert (fast(x) - plain(x)).abs().max() <= 5e-6 * plain(x).abs().max()


@pytest.mark.parametrize("activation", ["linear", "mish", "relu", "logistic"])
@torch.no_grad()
def test_activations_come_after_it(activation: str) -> None:
    plain = block(8, 8, activation)
    x = torch.randn(2, 8, 9, 10)
    fast = WinogradConv(plain, F2, Shape(8, 9, 10), FLOAT)
    assert torch.allclose(fast(x), plain(x), atol=1e-5)


@needs_bfloat16
@torch.no_grad()
def test_in_bfloat16_errors_stay_of_its_size() -> None:
    """About twice those of the plain sum; bias and sums are float32."""
    plain = block(128, 96)
    plain.conv.bias.fill_(10.003)  # its nearest bfloat16 is 10
    x = torch.randn(1, 128, 16, 16).to(BFLOAT)
    expected = F.conv2d(x.double(), plain.conv.weight.double(), plain.conv.bias.double(), padding=1)
    expected = F.leaky_relu(expected, 0.1)
    fast = WinogradConv(plain, F2, Shape(128, 16, 16), BFLOAT)
    packed = PackedConvBlock(plain, (1, 128, 16, 16), BFLOAT)
    errors = [fast(x).double() - expected, packed(x).double() - expected]
    assert all(error.abs().max() < 2**-8 * expected.abs().max() for error in errors)
    assert all(error.mean().abs() < 1e-3 for error in errors)  # no bias is lost


def test_only_what_it_makes_faster() -> None:
    map_ = Shape(256, 26, 26)

    def chosen(plain: ConvBlock, shape: Shape = map_, dtype: torch.dtype = FLOAT) -> object:
        return best_transforms(plain, shape, dtype, compiled=False)

    assert chosen(block(256, 256)) == F4
    assert chosen(block(256, 256), dtype=BFLOAT) == F2
    assert chosen(block(256, 256), Shape(256, 13, 13)) == F2  # few tiles
    assert chosen(block(64, 64), Shape(64, 104, 104)) is None
    assert best_transforms(block(64, 64), Shape(64, 104, 104), FLOAT, compiled=True) == F4
    assert chosen(block(256, 256), Shape(256, 3, 3)) is None
    for options in ({"strides": (2, 2)}, {"padding": 0}, {"groups": 2}, {"dilation": 2}):
        assert chosen(block(256, 256, **options)) is None  # type: ignore[arg-type]
    assert chosen(block(256, 256, size=1, padding=0)) is None
    assert chosen(block(256, 256), dtype=torch.float16) is None


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


@pytest.mark.parametrize("compiles", [False, True])
@pytest.mark.parametrize("size", [(44, 52), (32, 64), (46, 54)])
@torch.no_grad()
def test_an_optimized_network_has_them(
    network: dt.Network, size: tuple[int, int], compiles: bool
) -> None:
    fast = optimize(network, compile=compiles)
    assert fast.one_by_one
    kinds = [type(layer) for layer in fast.network.layers]
    assert kinds[:3] == [PackedConvBlock, WinogradConv, PackedConvBlock]
    x = torch.rand(2, 3, *size)
    ((actual,), (expected,)) = fast(x), network(x)
    assert fast.compiles == compiles
    assert (actual - expected).abs().max() <= 5e-6 * expected.abs().max()
