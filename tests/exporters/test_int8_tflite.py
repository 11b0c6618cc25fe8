"""TensorFlow Lite in 8 bits, from a file in float32 that is written by hand."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tflite_files import write_tflite

import darknet_torch as dt
from darknet_torch.errors import UsageError
from darknet_torch.exporters.int8_tflite import TfliteQuantizer
from darknet_torch.exporters.stored_weights import relative_error
from darknet_torch.network.origin import Origin

VECTORS = "[net]\ninputs=6\n" + "[connected]\noutput=5\nactivation=relu\n" * 3
NAMES = [f"a.Named/b.Module_network/b.Module_{index};" for index in range(3)]


@pytest.fixture
def vectors(tmp_path: Path) -> dt.Network:
    torch.manual_seed(0)
    network = dt.build(VECTORS)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.rand_like(parameter))
    write_tflite(network, tmp_path / "float32.tflite", NAMES, signature=True)
    return network


def quantizer_of(network: dt.Network, folder: Path, method="minmax") -> TfliteQuantizer:
    pytest.importorskip("ai_edge_quantizer")
    rng = np.random.default_rng(0)
    inputs = tuple(rng.random((1, 6), dtype=np.float32) for _ in range(8))
    origin = Origin.of(network, dynamic_batch=False, dynamic_size=False)
    source = folder / "float32.tflite"
    return TfliteQuantizer(source, network, inputs, method, origin, sys.executable)


def scales(path: Path) -> dict[str, int]:
    """Return the number of scales of each value that is in 8 bits, by the start of its name."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path))
    return {
        each["name"]: len(each["quantization_parameters"]["scales"])
        for each in interpreter.get_tensor_details()
        if each["dtype"] is np.int8
    }


def test_only_the_layers_in_8_bits(vectors: dt.Network, tmp_path: Path) -> None:
    quantizer, path = quantizer_of(vectors, tmp_path), tmp_path / "my.tflite"
    assert quantizer.layers == [0, 1, 2]
    quantizer.write(path, {0, 2})
    assert sorted(each.name for each in tmp_path.iterdir()) == ["float32.tflite", "my.tflite"]
    weights = {name: count for name, count in scales(path).items() if "weight" in name}
    assert weights == {"weight1": 5}  # a scale for each channel
    converted = dt.load(path)
    assert converted.origin.dtype == "int8" and converted.engine == "litert"
    x = torch.rand(2, 6)
    assert 1e-5 < relative_error(converted(x), vectors(x).detach()) < 0.02


def test_none_in_8_bits(vectors: dt.Network, tmp_path: Path) -> None:
    quantizer, path = quantizer_of(vectors, tmp_path), tmp_path / "my.tflite"
    for keep, dtype in ((None, "float32"), ({0, 1, 2}, "int8")):
        quantizer.write(path, keep)
        assert not scales(path)
        assert dt.load(path).origin.dtype == dtype
    x = torch.rand(1, 6)
    torch.testing.assert_close(dt.load(path)(x), vectors(x).detach())


def test_ranges(vectors: dt.Network, tmp_path: Path) -> None:
    """`minmax` has all values of all images, `percentile` the mean without the rarest of each."""
    pytest.importorskip("ai_edge_quantizer")
    rng = np.random.default_rng(0)
    images = [torch.from_numpy(rng.random((1, 6), dtype=np.float32)) for _ in range(8)]
    outputs = [vectors.activations(x)[1].detach() for x in images]
    low, high = quantizer_of(vectors, tmp_path).ranges[NAMES[1]]
    together = torch.cat(outputs)
    assert (low, high) == pytest.approx((float(together.min()), float(together.max())))
    quantiles = [np.quantile(each.numpy(), (1e-5, 1 - 1e-5)) for each in outputs]
    ends = quantizer_of(vectors, tmp_path, "percentile").ranges[NAMES[1]]
    assert ends == pytest.approx(tuple(np.mean(quantiles, axis=0)))


def test_what_a_max_pooling_pads_with_is_no_value(vectors: dt.Network, tmp_path: Path) -> None:
    """It would make the range infinite, and the file one that LiteRT breaks on."""
    bias = min(vectors.layers[0].parameters(), key=torch.Tensor.dim)
    with torch.no_grad():
        bias[0] = torch.finfo(torch.float32).max
    write_tflite(vectors, tmp_path / "float32.tflite", NAMES, signature=True)
    low, high = quantizer_of(vectors, tmp_path).ranges[NAMES[0]]
    assert 0 <= low < high < 10


def test_a_method_that_is_missing(vectors: dt.Network, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="entropy: tflite has percentile and minmax"):
        quantizer_of(vectors, tmp_path, "entropy")
