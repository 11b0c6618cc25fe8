"""Conversion to 8 bits: calibration images, the search for layers that stay, ONNX and OpenVINO."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from int8_cases import DEEPER, draw_labelled_images, three_convolutions
from PIL import Image

import darknet_torch as dt
from darknet_torch.errors import DarknetWarning, DataError, UsageError
from darknet_torch.exporters import int8
from darknet_torch.exporters.calibration import Samples, read_samples
from darknet_torch.exporters.calibration_options import Calibration
from darknet_torch.exporters.int8 import first_and_last, quantize
from darknet_torch.exporters.int8_report import compare
from darknet_torch.exporters.other_python import PYTHON
from darknet_torch.exporters.stored_weights import relative_error


@pytest.fixture
def network() -> dt.Network:
    return three_convolutions()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return draw_labelled_images(tmp_path / "images")


def types(path: Path) -> list[str]:
    """Types of the weights of convolutions, in their order."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(path).graph
    makers = {output: node.op_type for node in graph.node for output in node.output}
    return [makers.get(n.input[1], "plain") for n in graph.node if n.op_type == "Conv"]


@pytest.mark.parametrize("method", ["percentile", "minmax", "entropy"])
def test_onnx(network, images, tmp_path, method):
    path = tmp_path / "my.onnx"
    dt.export(network, path, int8=images, calibration=method, max_drop=100)
    assert types(path) == ["plain", "DequantizeLinear", "plain"]
    assert [each.name for each in tmp_path.glob("*my*")] == ["my.onnx"]
    converted = dt.load(path)
    assert converted.origin.dtype == "int8"
    x = read_samples(network, Calibration(images)).inputs[0]
    error = relative_error(converted(torch.from_numpy(x))[0], network(torch.from_numpy(x))[0])
    assert 1e-5 < error < 0.1
    assert dt.verify(network, path, images=[images / "0.png"]).checks[0].good
    report = compare(network, path, images)
    assert report.scores is not None and len(str(report).splitlines()) == 3


def test_openvino(network, images, tmp_path):
    pytest.importorskip("nncf")
    path = tmp_path / "my.xml"
    with pytest.raises(UsageError, match="entropy: openvino has percentile and minmax"):
        dt.export(network, path, int8=images, calibration="entropy")
    assert not list(tmp_path.glob("*my*"))
    dt.export(network, path, int8=images, max_drop=100)
    converted = dt.load(path, engine="openvino")
    assert converted.origin.dtype == "int8"
    x = torch.from_numpy(read_samples(network, Calibration(images)).inputs[0])
    assert 1e-5 < relative_error(converted(x)[0], network(x)[0]) < 0.1
    assert b"FakeQuantize" in path.read_bytes()


@pytest.mark.skipif(PYTHON not in os.environ, reason=f"{PYTHON} names no Python with litert_torch")
def test_tflite(images, tmp_path):
    """A max pooling, which pads, is among the layers in 8 bits."""
    torch.manual_seed(2)
    pooling = "[maxpool]\nsize=2\nstride=1\n[convolutional]\nfilters=14"
    network = dt.build(DEEPER.replace("[convolutional]\nfilters=14", pooling), dialect="alexeyab")
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    path = tmp_path / "my.tflite"
    dt.export(network, path, int8=images, max_drop=100)
    assert [each.name for each in tmp_path.glob("*my*")] == ["my.tflite"]
    kinds = {
        each["name"]: each["dtype"]
        for each in interpreter.Interpreter(str(path)).get_tensor_details()
        if len(each["shape"]) == 4 and len(each["quantization_parameters"]["scales"]) > 1
    }
    assert list(kinds.values()) == [np.int8]  # of the layer in the middle
    assert "_network/" in min(kinds) and "_1/" in min(kinds)
    assert dt.verify(network, path, images=[images / "0.png"]).checks[0].good
    report = compare(network, path, images)
    assert report.scores is not None


def test_boxes_in_the_file(network, images, tmp_path):
    path = tmp_path / "my.onnx"
    dt.export(network, path, contents="boxes", int8=images, max_drop=100)
    assert types(path).count("DequantizeLinear") == 1
    assert len(dt.load(path)(torch.rand(2, 3, 64, 64))) == 2


@pytest.mark.parametrize("kind", ["default", "greedynms"])
def test_detections_in_the_file(network, images, tmp_path, kind):
    path = tmp_path / "my.onnx"
    options = {"contents": "detections", "nms_kind": kind, "max_drop": 100}
    dt.export(network, path, int8=images, **options)
    assert types(path).count("DequantizeLinear") == 1
    assert dt.load(path)(torch.rand(1, 3, 64, 64)).shape[1] == 7


def test_images_without_labels(network, images, tmp_path):
    for label in images.glob("*.txt"):
        label.unlink()
    with pytest.warns(DarknetWarning, match="no labels") as said:
        dt.export(network, tmp_path / "my.onnx", int8=images)
    assert sum(each.category is DarknetWarning for each in said) == 1
    assert compare(network, tmp_path / "my.onnx", images).scores is None


def one_colour(folder: Path) -> None:
    for path in folder.glob("*.png"):
        Image.new("RGB", (60, 50), (10, 200, 30)).save(path)


def broken(folder: Path) -> None:
    for path in folder.glob("*.png"):
        path.write_bytes(b"no image")


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.filterwarnings("ignore::darknet_torch.errors.DarknetWarning")
@pytest.mark.parametrize("options", [{"path": "my.onnx"}, {"path": "my.tflite", "python": "none"}])
@pytest.mark.parametrize("spoil", [one_colour, broken, empty, lambda folder: folder.rename("gone")])
def test_nothing_to_calibrate_with(network, images, tmp_path, spoil, options, monkeypatch):
    """It is found before the network is converted."""
    monkeypatch.chdir(tmp_path)
    spoil(images)
    with pytest.raises(DataError):
        dt.export(network, int8=images, **options)
    assert not list(tmp_path.glob("*my*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calibration": "median"}, "calibration=median"),
        ({"calibration_images": 0}, "calibration_images=0"),
        ({"max_drop": -1}, "max_drop=-1"),
        ({"dtype": "float16"}, "not float16"),
        ({"opset": 12}, "needs opset 13 or more, not 12"),
        ({"int8": None, "max_drop": 3}, "max_drop: for int8 only"),
        ({"int8": ""}, "calibration data='': the path"),
    ],
)
def test_wrong_options(network, images, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        dt.export(network, tmp_path / "my.onnx", **{"int8": images, **options})
    assert not list(tmp_path.glob("*my*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": None}, "data=None"),
        ({"data": "my.yaml", "images": "3"}, "images='3': a number"),
        ({"data": "my.yaml", "max_drop": None}, "max_drop=None: a number"),
    ],
)
def test_a_calibration_of_wrong_types(options, message):
    with pytest.raises(UsageError, match=message):
        Calibration(**options)


@pytest.mark.parametrize("ending", [".xml", ".engine"])
def test_the_other_layers_are_float32(network, images, tmp_path, ending):
    """No option is passed over, and none is refused after the work."""
    with pytest.raises(UsageError, match="not float16"):
        dt.export(network, tmp_path / f"my{ending}", int8=images, dtype="float16")
    with pytest.raises(UsageError, match="calibration_images=0"):
        dt.export(network, tmp_path / f"my{ending}", int8=images, calibration_images=0)
    assert not list(tmp_path.glob("*my*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calibration": "entropy"}, "entropy: tflite has percentile and minmax"),
        ({"calibration_images": 0}, "calibration_images=0"),
        ({"dtype": "float16"}, "tflite has no option dtype"),
    ],
)
def test_what_tflite_has_not(network, images, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        dt.export(network, tmp_path / "my.tflite", int8=images, python=sys.executable, **options)
    assert not list(tmp_path.glob("*my*"))


def test_a_format_without(network, images, tmp_path):
    with pytest.raises(UsageError, match="torch_export has no option int8"):
        dt.export(network, tmp_path / "my.pt2", int8=images)


def test_calibration_images_are_spread(network, images):
    samples = read_samples(network, Calibration(images, images=3))
    assert [each.path.stem for each in samples.dataset.samples] == ["0", "2", "4"]
    assert samples.labelled and samples.inputs[0].shape == (1, 3, 64, 64)


class Pretended:
    """A quantizer whose files say what stays in float32; each layer has an error of its own."""

    layers = range(40)

    def write(self, path, keep):
        kept = range(40) if keep is None else keep
        path.write_text(" ".join(map(str, sorted(kept))))


def lost(path: Path) -> float:
    """Layers with a multiple of 10 lose 5 points each, if they are in 8 bits."""
    kept = set(map(int, path.read_text().split()))
    return 5.0 * len({10, 20, 30} - kept)


@pytest.mark.parametrize(("max_drop", "expected"), [(15, []), (5, [10, 20, 30]), (0, [10, 20, 30])])
def test_the_most_sensitive_layers_stay(network, tmp_path, monkeypatch, max_drop, expected):
    monkeypatch.setattr(int8, "score", lambda file, _: 60 - lost(file))
    monkeypatch.setattr(int8, "first_and_last", lambda _: {0, 39})
    monkeypatch.setattr(Samples, "labelled", True)
    monkeypatch.setattr(int8, "_outputs", lambda file, _: (torch.tensor([1.0 + lost(file) / 100]),))
    samples = Samples(None, (np.zeros((1, 3, 64, 64), np.float32),))
    settings = Calibration("unread", max_drop=max_drop)
    path = tmp_path / "my.file"
    kept = quantize(network, path, Pretended(), samples, settings, lambda file: file)
    assert {0, 39, *expected} <= set(kept) and len(kept) <= 2 + 38 // 8
    assert path.read_text() == " ".join(map(str, kept))
    assert lost(path) <= max_drop


def test_what_cannot_be_kept_is_said(network, tmp_path, monkeypatch):
    monkeypatch.setattr(int8, "score", lambda file, _: float("exact" in file.name))
    monkeypatch.setattr(int8, "_outputs", lambda file, _: (torch.ones(1),))
    monkeypatch.setattr(Samples, "labelled", True)
    samples = Samples(None, ())
    with pytest.warns(DarknetWarning, match=r"cost 1\.00 points, more than max_drop=0\.5"):
        quantize(
            network,
            tmp_path / "my.file",
            Pretended(),
            Samples(None, (np.zeros((1, 3, 64, 64), np.float32),)),
            Calibration("unread", max_drop=0.5),
            lambda file: file,
        )
    assert samples.labelled


def test_values_that_hardly_differ(network, images, tmp_path):
    """Histograms need values that differ."""
    with torch.no_grad():
        network.layers[0].bn.weight.fill_(0)
        network.layers[0].bn.bias.fill_(1e-44)
    with pytest.raises(DataError, match=r"hardly differ.*calibration=minmax needs no histograms"):
        dt.export(network, tmp_path / "my.onnx", int8=images, max_drop=100)
    assert not list(tmp_path.glob("*my*"))


def test_first_and_last(network):
    assert first_and_last(network) == {0, 2}
