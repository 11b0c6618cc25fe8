"""Convolutions in 8 bits: exact sums of rounded values, and when a processor gains by them."""

import copy
import pickle
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from darknet_torch.speed import int8_conv, trials
from darknet_torch.speed.int8_conv import Int8Conv, Quantization, is_exact, multiplies_int8
from darknet_torch.speed.onednn import is_supported

CPU = torch.device("cpu")
needs_int8 = pytest.mark.skipif(
    not is_exact(CPU), reason="a processor without exact products of 8 bits"
)
WAYS: list[dict[str, Any]] = [
    {},
    {"padding": (1, 1)},
    {"stride": (2, 1), "padding": (1, 2)},
    {"dilation": (2, 2), "padding": (2, 2)},
    {"groups": 4, "padding": (1, 0)},
]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 255, (1, 0)),
        (-1, 1, (2 / 255, 128)),
        (-255, -1, (1, 255)),
        (3, 510, (2, 0)),
        (0, 0, (1, 0)),
        (0, 1e-40, (1, 0)),
    ],
)
def test_zero_is_exact(low: float, high: float, expected: tuple[float, int]) -> None:
    quantization = Quantization.of(low, high)
    assert quantization == pytest.approx(expected)
    assert 0 <= quantization.zero_point <= 255


def rounded(x: torch.Tensor, quantization: Quantization) -> torch.Tensor:
    scale, zero = quantization
    return ((x / scale + zero + 0.5).floor().clamp(0, 255) - zero).double() * scale


@needs_int8
@pytest.mark.parametrize("how", WAYS, ids=str)
@pytest.mark.parametrize("biased", [True, False], ids=["bias", "none"])
@pytest.mark.parametrize("low", [0.0, -0.3])
@torch.no_grad()
def test_convolutions(how: dict[str, Any], biased: bool, low: float) -> None:
    """What is rounded is computed exactly; values beyond the range are cut off."""
    torch.manual_seed(1)
    weight = torch.randn(12, 8 // how.get("groups", 1), 3, 3)
    bias = torch.randn(12) if biased else None
    x = torch.rand(2, 8, 9, 11) * 1.1 + low
    conv = Int8Conv(weight, bias, (1, 8, 9, 11), quantization=Quantization.of(low, low + 1), **how)
    steps = weight.abs().amax((1, 2, 3), keepdim=True) / 127
    wanted = F.conv2d(
        rounded(x, conv.quantization),
        (weight / steps).round().double() * steps.double(),
        None if bias is None else bias.double(),
        **how,
    )
    for each in (x, x.contiguous(memory_format=torch.channels_last)):
        y = conv(each)
        assert y.dtype == torch.float32
        assert y.is_contiguous(memory_format=torch.channels_last)
        assert torch.allclose(y.double(), wanted, atol=1e-4)
    assert conv.empty_output(x).shape == wanted.shape
    for copied in (pickle.loads(pickle.dumps(conv)), copy.deepcopy(conv)):
        assert torch.equal(copied(x), conv(x))
    relu = Int8Conv(weight, bias, x.shape, quantization=conv.quantization, activation="relu", **how)
    assert torch.equal(relu(x), conv(x).relu())


@needs_int8
@torch.no_grad()
def test_a_filter_of_zeros() -> None:
    weight, bias = torch.zeros(2, 3, 1, 1), torch.tensor([0.25, -0.5])
    conv = Int8Conv(weight, bias, (1, 3, 4, 4), quantization=Quantization.of(0, 1))
    assert torch.equal(conv(torch.rand(1, 3, 4, 4)), bias[:, None, None].expand(1, 2, 4, 4))


@pytest.mark.parametrize(
    ("exact", "seconds", "expected"),
    [(True, 1, True), (False, 1, False), (True, 1.8, False), (True, 3, False)],
)
def test_it_is_measured(
    exact: bool, seconds: float, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 bits must be exact, and clearly faster than float32."""
    monkeypatch.setattr(int8_conv, "is_exact", lambda _: exact)
    monkeypatch.setattr(trials, "least_seconds", lambda calls: [seconds, 2])
    assert multiplies_int8.__wrapped__(CPU) is expected


@pytest.mark.skipif(not is_supported(CPU, torch.float32), reason="torch without oneDNN")
@pytest.mark.parametrize(("largest", "expected"), [(1.0, True), (0.7, False)])
def test_sums_that_do_not_fit(
    largest: float, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Int8Conv, "__call__", lambda conv, x: largest * x.new_full(x.shape, 128))
    assert is_exact(CPU) is expected


def test_without_onednns_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8_conv, "OPERATORS", ("no_such_operator",))
    assert not is_exact(CPU)
