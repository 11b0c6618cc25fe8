"""Networks optimized to 8 bits: convolutions, ranges, which layers stay, and what is refused."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import keys
import numpy as np
import pytest
import torch
from int8_cases import DEEPER, draw_labelled_images, three_convolutions
from PIL import Image

import darknet_torch as dt
from darknet_torch.cli import main
from darknet_torch.errors import DarknetWarning, DataError, UsageError
from darknet_torch.exporters.calibration_options import Calibration
from darknet_torch.exporters.stored_weights import relative_error
from darknet_torch.speed import int8
from darknet_torch.speed.inductor import compiled_for
from darknet_torch.speed.int8_conv import Int8Conv, Quantization, is_exact

CPU = torch.device("cpu")
needs_int8 = pytest.mark.skipif(
    not is_exact(CPU), reason="a processor without exact products of 8 bits"
)


@pytest.fixture
def network() -> dt.Network:
    return three_convolutions()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return draw_labelled_images(tmp_path / "images")


@pytest.fixture
def on_any_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute in 8 bits although it may be slow, and cut off the largest sums."""
    monkeypatch.setattr(int8, "multiplies_int8", lambda _: True)
    monkeypatch.setattr(int8, "has_tiny_layers", lambda _: False)


@pytest.mark.parametrize("method", ["percentile", "minmax"])
@pytest.mark.usefixtures("on_any_processor")
def test_optimize(network: dt.Network, images: Path, method: Any) -> None:
    settings = Calibration(images, method, max_drop=100)
    fast = dt.optimize(network, dtype="int8", calibration=settings, compile=False)
    assert fast.int8_layers == (1,)
    x = torch.rand(2, 3, 64, 64)
    exact, y = network(x)[0], fast(x)[0]
    assert 1e-5 < relative_error(y, exact.detach()) < 0.1
    for copied in (pickle.loads(pickle.dumps(fast)), copy.deepcopy(fast)):
        assert torch.equal(copied(x)[0], y)
    # of a value just between two steps the compiler's rounding may choose the other
    equal = (compiled_for(fast.network, x)(x)[0] - y).abs() < 1e-5
    assert equal.float().mean() > 0.9


@pytest.mark.usefixtures("on_any_processor")
def test_ranges(network: dt.Network, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of each input: of all images, or the mean of those without the rarest values."""
    monkeypatch.setattr(int8, "RAREST", 0.01)
    seen: list[torch.Tensor] = []
    network.layers[1].register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].detach().clone())
    )
    samples = int8.read_samples(network, Calibration(images))
    whole = int8._quantizations(network_without_norm(network), samples, "minmax")[1]
    most = int8._quantizations(network_without_norm(network), samples, "percentile")[1]
    for each in samples.inputs:
        network(torch.from_numpy(each))
    ends = [np.quantile(each.numpy(), (0, 0.01, 0.99, 1)) for each in seen]
    lows, rare_lows, rare_highs, highs = np.transpose(ends)
    assert whole == pytest.approx(Quantization.of(lows.min(), highs.max()), rel=1e-5)
    wanted = Quantization.of(rare_lows.mean(), rare_highs.mean())
    assert most.scale == pytest.approx(wanted.scale, rel=0.01) and most.scale < whole.scale


def network_without_norm(network: dt.Network) -> dt.Network:
    from darknet_torch.network.folding import fold

    return fold(network)


@pytest.mark.usefixtures("on_any_processor")
def test_values_that_are_not_finite(network: dt.Network, images: Path) -> None:
    with torch.no_grad():
        network.layers[0].bn.bias[0] = float("inf")
    settings = Calibration(images, max_drop=100)
    fast = dt.optimize(network, dtype="int8", calibration=settings, compile=False)
    assert fast.int8_layers == ()


@pytest.mark.usefixtures("on_any_processor")
def test_layers_stay_where_the_score_falls(
    network: dt.Network, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(network: Any, _: object) -> float:
        return 50.0 * all(type(each.conv) is not Int8Conv for each in network.layers[:3])

    monkeypatch.setattr("darknet_torch.exporters.int8.score", score)
    fast = dt.optimize(network, dtype="int8", calibration=images, compile=False)
    assert fast.int8_layers == ()
    x = torch.rand(1, 3, 64, 64)
    assert torch.allclose(fast(x)[0], network(x)[0], atol=1e-5)


@pytest.mark.usefixtures("on_any_processor")
def test_what_is_refused(network: dt.Network, images: Path, tmp_path: Path) -> None:
    def fails(error: type[Exception], match: str, **how: Any) -> None:
        with pytest.raises(error, match=match):
            dt.optimize(network, **{"dtype": "int8", **how})

    fails(UsageError, "needs calibration")
    fails(UsageError, "entropy: optimize has", calibration=Calibration(images, "entropy"))
    fails(UsageError, "for dtype=int8 only", calibration=images, dtype="float32")
    fails(DataError, "no-such-folder", calibration=tmp_path / "no-such-folder")
    for each in images.glob("*.png"):
        Image.new("RGB", (60, 60), (9, 9, 9)).save(each)
    fails(DataError, "every image is of one colour", calibration=images)


@pytest.mark.usefixtures("on_any_processor")
def test_without_labels(network: dt.Network, images: Path) -> None:
    for each in images.glob("*.txt"):
        each.unlink()
    with pytest.warns(DarknetWarning, match="what 8 bits cost in mAP is not measured"):
        fast = dt.optimize(network, dtype="int8", calibration=images, compile=False)
    assert fast.int8_layers == (1,)


def test_a_processor_that_gains_nothing(
    network: dt.Network, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "multiplies_int8", lambda _: False)
    monkeypatch.setattr(int8, "has_tiny_layers", lambda _: False)
    must_be_float32(
        network, images, "this processor multiplies it not clearly faster, or not exactly"
    )


def test_networks_that_gain_nothing(network: dt.Network, images: Path) -> None:
    must_be_float32(network, images, "its layers are so small that float32 is faster")
    cfg = "[net]\nwidth=8\nheight=8\nchannels=3\n[{}]\noutput=4\n"
    vectors = dt.build(cfg.format("connected"))
    must_be_float32(vectors, images, "no convolution can be in 8 bits")
    recurrent = dt.build(cfg.format("rnn").replace("width=8\nheight=8\nchannels=3", "inputs=4"))
    must_be_float32(recurrent, images, "the network has recurrent layers")


def must_be_float32(network: dt.Network, images: Path, reason: str) -> None:
    with pytest.warns(DarknetWarning, match=f"int8: {reason}; computing in float32"):
        fast = dt.optimize(network, dtype="int8", calibration=images, compile=False)
    x = torch.rand(1, *(size for size in network.plan.input if size))
    exact, y = (
        (each,) if isinstance(each, torch.Tensor) else each for each in (network(x), fast(x))
    )
    assert torch.allclose(y[0], exact[0], atol=1e-5) and not fast.int8_layers


@needs_int8
@pytest.mark.skipif(not (keys.SHARED / "models").is_dir(), reason=f"{keys.SHARED} is not there")
@pytest.mark.usefixtures("on_any_processor")
def test_a_real_network() -> None:
    """mAP on photos falls by a point at most."""
    folder = keys.SHARED / "models" / "yolo-fastest-1.1"
    data = keys.SHARED / "datasets" / "coco128"
    cfg, weights = next(folder.glob("*.cfg")), next(folder.glob("*.weights"))
    network = dt.load(cfg, weights)
    fast = dt.optimize(
        network, dtype="int8", calibration=Calibration(data, images=32), compile=False
    )
    assert len(fast.int8_layers) > 20
    exact, less = (dt.evaluate(each, data).score for each in (network, fast))
    assert exact - 0.015 < less != exact


@pytest.mark.usefixtures("on_any_processor")
def test_the_command(
    network: dt.Network, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg, weights = tmp_path / "my.cfg", tmp_path / "my.weights"
    cfg.write_text(DEEPER)
    dt.save(network, weights)
    words = ["detect", str(cfg), str(weights), str(images / "0.png"), "--device", "cpu"]
    assert main([*words, "--dtype", "int8"]) == 2
    assert "--dtype int8: --int8 my.yaml names images" in capsys.readouterr().err
    assert main([*words, "--dtype", "bfloat16", "--int8", str(images)]) == 2
    assert "--int8: what is not in 8 bits is float32, not bfloat16" in capsys.readouterr().err
    assert main([*words, "--int8", str(images), "--compile", "--engine", "onnxruntime"]) == 2
    assert "--compile, --int8: an engine computes in float32" in capsys.readouterr().err
    assert main([*words, "--int8", str(images), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
    words = ["evaluate", str(cfg), str(weights), str(images), "--device", "cpu", "--json"]
    scores = [
        json.loads(evaluated([*words, *more], capsys)) for more in ([], ["--int8", str(images)])
    ]
    assert scores[0].keys() == scores[1].keys() and scores[0] != scores[1]


def evaluated(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 0
    return capsys.readouterr().out
