"""Engines read files whatever the case of their ending, and leave the process as it was."""

import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import pytest
import torch

import darknet_torch as dt
from darknet_torch.errors import UsageError
from darknet_torch.inference import engines
from darknet_torch.inference.converted import Converted

CFG = """[net]
width=32
height=32
channels=3
[convolutional]
filters=7
size=3
stride=4
pad=1
activation=leaky
[yolo]
classes=2
num=1
mask=0
anchors=10,20
"""


@pytest.fixture(scope="module")
def network() -> dt.Network:
    torch.manual_seed(0)
    return dt.build(CFG)


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("X.ONNX", "onnxruntime"),
        ("X.ONNX", "openvino"),
        ("X.ONNX", "opencv"),
        ("X.XML", "openvino"),
        ("X.PT2", "torch"),
        ("X.TorchScript", "torch"),
        ("X.TS", "torch"),
    ],
)
def test_endings_in_capitals(name: str, engine: str, network: dt.Network, tmp_path: Path) -> None:
    path, x = tmp_path / name, torch.rand(1, 3, 32, 32)
    dt.export(network, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's, of TorchScript
        converted = dt.load(path, engine=engine, trusted=True)
    assert isinstance(converted, Converted)
    assert converted.origin.has_cfg
    torch.testing.assert_close(converted(x)[0], network(x)[0], rtol=0, atol=1e-5)
    assert dt.verify(network, path, engine=engine, trusted=True).good


@pytest.mark.parametrize("name", ["X.SafeTensors", "X.PT", "X.Pth"])
def test_files_of_tensors_in_capitals(name: str, network: dt.Network, tmp_path: Path) -> None:
    dt.export(network, tmp_path / name)
    again = dt.load(tmp_path / name)
    assert isinstance(again, dt.Network)
    assert torch.equal(again.layers[0].conv.weight, network.layers[0].conv.weight)


def test_opencv_has_its_threads_back(network: dt.Network, tmp_path: Path) -> None:
    """It has one number of threads for the process."""
    dt.export(network, tmp_path / "x.onnx")
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        converted = dt.load(tmp_path / "x.onnx", engine="opencv")
        assert cv2.getNumThreads() == 1
        converted(torch.rand(1, 3, 32, 32))
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)


def test_errors_of_engines_are_ours(network: dt.Network, tmp_path: Path) -> None:
    dt.export(network, tmp_path / "x.onnx", dynamic_size=False)
    converted = dt.load(tmp_path / "x.onnx", engine="onnxruntime")
    converted._run = lambda x: [1 / 0]  # type: ignore[assignment]
    with pytest.raises(UsageError, match=r"x\.onnx: onnxruntime: division by zero"):
        converted(torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("path", "engine", "error"),
    [
        ("x.onnx", "tensorflow", "engine tensorflow: must be one of onnxruntime, openvino"),
        ("x.xml", "opencv", "x.xml: opencv takes .onnx files"),
    ],
)
def test_engines_that_do_not_fit(path: str, engine: str, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        engines.engine_for(path, engine)


SIGNAL = """
import faulthandler, signal, sys
faulthandler.enable()
import darknet_torch as dt
first, second = (dt.load(sys.argv[1], engine="openvino") for _ in range(2))
del first
del second
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
signal.raise_signal(signal.SIGTERM)
"""


def test_signals_arrive_after_openvino_has_been_used(tmp_path: Path) -> None:
    """Each `openvino.Core` has a stack for signals, which goes with it, in whatever order."""
    pytest.importorskip("openvino")
    dt.export(dt.build(CFG), tmp_path / "net.xml")
    command = [sys.executable, "-c", SIGNAL, str(tmp_path / "net.xml")]
    assert subprocess.run(command, check=False).returncode == 7
