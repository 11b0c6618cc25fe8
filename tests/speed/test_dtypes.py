"""Types of half the bits: layers that would overflow stay in float32, rough networks are named."""

import warnings
from collections.abc import Iterator

import pytest
import torch
from small_network import CFG
from torch import Tensor

import darknet_torch as dt
from darknet_torch.errors import DarknetWarning
from darknet_torch.inference.sample import as_input, sample_image
from darknet_torch.network import Network
from darknet_torch.speed import dtypes
from darknet_torch.speed.dtypes import layer_dtypes, run_sample

CONV = "[convolutional]\nfilters=8\nsize=3\npad=1\nactivation={}\n"
NET = "[net]\nwidth=16\nheight=16\nchannels=3\n"
LOW, HIGH = torch.float16, torch.float32


@pytest.fixture(autouse=True)
def every_type(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a card; torch computes float16 slowly where the processor does not."""
    monkeypatch.setattr(dtypes, "computes_natively", lambda *_: True)
    monkeypatch.setattr(dtypes, "is_faster_than_float32", lambda _: True)
    torch.manual_seed(0)
    yield


def build(text: str) -> Network:
    return dt.build(NET + text)


def scaled(network: Network, factor: float) -> Network:
    """The same network, with `factor` times as large values between its first two layers."""
    with torch.no_grad():
        first, second = network.layers[0].conv, network.layers[1].conv
        first.weight *= factor
        first.bias *= factor
        second.weight /= factor
    return network


def outputs(network: torch.nn.Module) -> Tensor:
    with torch.inference_mode():
        result = network(torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)))
    return result[0] if isinstance(result, tuple) else result


def test_layers_that_overflow_stay_in_float32() -> None:
    network = scaled(build(4 * CONV.format("relu")), 1e6)
    expected = outputs(network)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DarknetWarning)
        fast = dt.optimize(network, dtype="float16", compile=False)
    assert layer_dtypes(network, LOW, run_sample(network)) == [HIGH, HIGH, LOW, LOW]
    actual = outputs(fast)
    assert (actual - expected).abs().max() < 0.01 * expected.abs().max()


def test_layers_that_nothing_needs() -> None:
    """The second and the third compute what no output depends on."""
    conv = CONV.format("leaky")
    network = build(f"{conv}{conv}{conv}[route]\nlayers=0\n{conv}")
    fast = dt.optimize(network, dtype="float16", compile=False)
    expected = outputs(network)
    assert (outputs(fast) - expected).abs().max() < 0.01 * expected.abs().max()


def test_where_no_layer_is_in_half_it_is_float32() -> None:
    network = build(CONV.format("leaky"))  # sums of 27 products, which are short
    with pytest.warns(DarknetWarning, match="no layer of this network is computed in it"):
        fast = dt.optimize(network, dtype="bfloat16", compile=False)
    assert fast.dtype == torch.float32
    assert torch.equal(outputs(fast), outputs(dt.optimize(network, compile=False)))


def test_a_plain_cast_would_overflow() -> None:
    """What the test above mends."""
    network = scaled(build(4 * CONV.format("relu")), 1e6).half()
    with torch.inference_mode():
        assert not network(torch.rand(1, 3, 16, 16).half()).isfinite().all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_rough_network_is_named(dtype: dtypes.Dtype) -> None:
    """A difference of two large sums, which half the bits cannot hold."""
    network = build(2 * CONV.format("linear").replace("filters=8", "filters=32"))
    with torch.no_grad():
        network.layers[0].conv.bias[:] = 3000
        weight = network.layers[1].conv.weight
        weight[:, 1::2] = -weight[:, 0::2]
    with pytest.warns(DarknetWarning, match=rf"{dtype}: layer \d \[convolutional\] has an error"):
        fast = dt.optimize(network, dtype=dtype, compile=False)
    assert fast.dtype == getattr(torch, dtype)


def test_values_beyond_the_range_are_named() -> None:
    """Larger than the sample run foretold: as a layer that has no module for what overflows."""
    network = build(2 * CONV.format("relu"))
    exact = run_sample(network)
    low = dtypes.SampleRun({0: exact.outputs[0], 1: exact.outputs[1] * torch.inf}, [1.0, 1.0])
    with pytest.warns(DarknetWarning, match=r"layer 1 \[convolutional\] has values beyond its r"):
        dtypes.warn_if_rough(low, exact, network.plan, LOW)


LONG_SUMS = CONV.format("relu").replace("filters=8", "filters=64") + CONV.format("relu")


def test_good_networks_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DarknetWarning)
        dt.optimize(dt.build(CFG), dtype="float16", compile=False)
        dt.optimize(build(LONG_SUMS), dtype="bfloat16", compile=False)


def test_recurrent_networks_are_measured_too() -> None:
    text = "[net]\ninputs=4\ntime_steps=1\nbatch=1\n[gru]\noutput=5\n[softmax]\n"
    network = dt.build(text)
    fast = dt.optimize(network, dtype="float16")
    assert fast.dtype == torch.float16 and network.dtype == torch.float32


def test_tf32_is_for_cards() -> None:
    with pytest.warns(DarknetWarning, match="tf32: only graphics cards have it"):
        fast = dt.optimize(dt.build(CFG), dtype="tf32", compile=False)
    assert fast.dtype == torch.float32 and fast.products == "ieee"


def test_the_sample_as_input() -> None:
    vectors = dt.build("[net]\ninputs=4\n[connected]\noutput=2\n")
    assert as_input(vectors, sample_image(vectors)).shape == (1, 4)
    many = dt.build("[net]\nwidth=8\nheight=8\nchannels=5\n" + CONV.format("relu"))
    assert as_input(many, sample_image(many)).shape == (1, 5, 8, 8)
    photo = dt.build(CFG)
    assert as_input(photo, sample_image(photo)).shape == (1, 3, 64, 64)


def test_a_type_that_the_processor_is_slower_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is computed as asked, with a warning."""
    monkeypatch.setattr(dtypes, "is_faster_than_float32", lambda _: False)
    network = build(LONG_SUMS)
    with pytest.warns(DarknetWarning, match="bfloat16: this processor is not clearly faster in it"):
        fast = dt.optimize(network, dtype="bfloat16", compile=False)
    assert fast.dtype == torch.bfloat16
