"""Packed convolutions against torch's, alone and in compiled programs."""

import gc
import weakref
from collections.abc import Iterator
from itertools import count

import pytest
import torch
import torch.nn.functional as F

from darknet_torch.speed import onednn
from darknet_torch.speed.inductor import compiled_for
from darknet_torch.speed.onednn import (
    FUSED,
    PACKED_CONVS,
    PackedConv,
    _layout,
    activate_output,
    is_supported,
)

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(not is_supported(CPU, torch.float32), reason="torch without oneDNN")
WAYS = [
    {},
    {"padding": (1, 1)},
    {"stride": (2, 1), "padding": (1, 2)},
    {"dilation": (2, 2), "padding": (2, 2)},
    {"groups": 4, "padding": (1, 0)},
]


@pytest.mark.parametrize("how", WAYS, ids=str)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=str)
@torch.no_grad()
def test_convolutions(how: dict[str, object], layout: torch.memory_format) -> None:
    torch.manual_seed(1)
    channels = 8 // how.get("groups", 1)  # type: ignore[operator]
    weight, bias, x = torch.randn(12, channels, 3, 3), torch.randn(12), torch.randn(2, 8, 9, 11)
    conv = PackedConv(weight, bias, (1, 8, 9, 11), layout=layout, **how)  # type: ignore[arg-type]
    expected = F.conv2d(x, weight, bias, **how)  # type: ignore[arg-type]
    for each in (x, x.contiguous(memory_format=torch.channels_last)):
        actual = conv(each)
        assert torch.allclose(actual, expected, atol=1e-5)
    assert conv.empty_output(x).shape == expected.shape
    assert conv.empty_output(x).is_contiguous(memory_format=layout)


@pytest.mark.parametrize("activation", FUSED)
@torch.no_grad()
def test_activations_inside(activation: str) -> None:
    from darknet_torch.layers.activation import activate

    weight, x = torch.randn(4, 3, 1, 1), torch.randn(1, 3, 5, 5)
    actual = PackedConv(weight, None, x.shape, activation=activation)(x)
    assert torch.allclose(actual, activate(activation, F.conv2d(x, weight)), atol=1e-6)


class Module(torch.nn.Module):
    def __init__(self, conv: PackedConv) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) + 1


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=str)
@pytest.mark.parametrize("bias", [torch.randn(4), None], ids=["bias", "none"])
@torch.no_grad()
def test_compiled_programs(bias: torch.Tensor | None, layout: torch.memory_format) -> None:
    weight = torch.randn(4, 3, 3, 3)
    module = Module(PackedConv(weight, bias, (1, 3, 8, 8), activation="leaky", layout=layout))
    x = torch.randn(1, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    run, expected = compiled_for(module, x), module(x)
    del module  # the program keeps the weights
    gc.collect()
    (actual,) = run(x)
    assert torch.allclose(actual, expected, atol=1e-6)


@torch.no_grad()
def test_programs_of_other_weights_are_not_taken_from_a_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another process may have given the same number to other weights of the same shape."""
    x = torch.randn(1, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    for _ in range(2):
        monkeypatch.setattr(onednn, "_KEYS", count(1_000_000))
        module = Module(PackedConv(torch.randn(4, 3, 3, 3), torch.randn(4), (1, 3, 8, 8)))
        (actual,) = compiled_for(module, x)(x)
        assert torch.allclose(actual, module(x), atol=1e-6)


@pytest.fixture
def threads() -> Iterator[None]:
    """Numbers of threads may be set; they are those of before afterwards."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


SHAPES = [(1, 512, 13, 13), (8, 512, 13, 13), (1, 512, 5, 9), (1, 512, 26, 26)]


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("filters", [256, 40])
@pytest.mark.usefixtures("threads")
@torch.no_grad()
def test_weights_have_the_layout_for_threads_and_input(filters: int, size: int) -> None:
    """In any other, oneDNN would reorder them at every call."""
    weight = torch.randn(filters, 512, size, size)
    conv = PackedConv(weight, None, SHAPES[0])
    for count_ in (2, 1, 3):
        torch.set_num_threads(count_)
        for shape in SHAPES:
            fresh, mine = PackedConv(weight, None, shape).weight(shape), conv.weight(shape)
            assert _layout(mine) == _layout(fresh)
            assert torch.equal(mine.to_dense(), fresh.to_dense())
    kept = conv._packed.values()
    assert len(kept) == 3 * len(SHAPES)
    assert len({id(each) for each in kept}) == len({_layout(each) for each in kept})


@pytest.mark.usefixtures("threads")
@torch.no_grad()
def test_programs_take_the_weights_of_their_callers_threads() -> None:
    torch.set_num_threads(2)
    shape = SHAPES[0]
    conv = PackedConv(torch.randn(256, 512, 1, 1) / 20, torch.randn(256), shape)
    x = torch.randn(shape).contiguous(memory_format=torch.channels_last)
    run, expected = compiled_for(Module(conv), x), F.conv2d(x, conv.weight(shape).to_dense())
    expected += 1 + conv.bias[:, None, None]  # type: ignore[index]
    for count_ in (2, 1):
        torch.set_num_threads(count_)
        assert torch.allclose(run(x)[0], expected, atol=1e-5)
        assert (count_, shape) in conv._packed


def test_weights_go_with_their_owner() -> None:
    conv = PackedConv(torch.randn(4, 3, 3, 3), None, (1, 3, 8, 8))
    number, gone = conv.key, weakref.ref(conv)
    assert number in PACKED_CONVS
    del conv
    gc.collect()
    assert gone() is None
    assert number not in PACKED_CONVS


@torch.no_grad()
def test_mish_with_one_exponential(monkeypatch: pytest.MonkeyPatch) -> None:
    y = torch.linspace(-100, 100, 20001)
    expected = F.mish(y.double())
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    actual = activate_output("mish", y)
    assert (actual - expected).abs().max() <= 1e-6 * 100
    small = y.abs() < 5
    assert ((actual - expected)[small].abs() <= 1e-6 * expected[small].abs() + 1e-9).all()
