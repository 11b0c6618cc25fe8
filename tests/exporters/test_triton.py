"""A model folder of Triton: its configuration is parsed by Triton's own message, its file runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_kinds import small_detector

import darknet_torch as dt
from darknet_torch.cli import main
from darknet_torch.errors import UsageError

pytest.importorskip("onnxscript", reason='needs the extra "onnx"')
onnxruntime = pytest.importorskip("onnxruntime", reason="runs what was exported")


def config_of(folder: Path) -> Any:
    pytest.importorskip("tritonclient", reason="has the message of a configuration")
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    text = (folder / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


@pytest.mark.parametrize(
    ("options", "outputs"),
    [
        ({}, {"boxes": [12, 4], "scores": [12, 3]}),
        ({"layout": "ultralytics", "uint8": True}, {"output0": [7, 12]}),
        ({"contents": "raw", "max_batch": 2}, {"raw0": [24, 2, 2]}),
    ],
)
def test_configuration_describes_the_file(
    options: dict[str, Any], outputs: dict[str, list[int]], tmp_path: Path
) -> None:
    network, folder = small_detector("yolov4-csp"), tmp_path / "small-net"
    network = dt.build(network.plan.text, dialect="alexeyab", width=32, height=32)
    network.names = ("cat", "dog", "traffic light")
    dt.export(network, folder, to="triton", **options)
    config = config_of(folder)
    assert (config.name, config.backend) == ("small-net", "onnxruntime")
    assert config.max_batch_size == options.get("max_batch", 8)
    assert config.HasField("dynamic_batching")
    assert {each.name: list(each.dims) for each in config.output} == outputs
    (images,) = config.input
    assert list(images.dims) == ([32, 32, 3] if options.get("uint8") else [3, 32, 32])
    session = onnxruntime.InferenceSession(folder / "1" / config.default_model_filename)
    dtype = np.uint8 if options.get("uint8") else np.float32
    batch = np.zeros((config.max_batch_size, *images.dims), dtype)
    for each, array in zip(config.output, session.run(None, {images.name: batch}), strict=True):
        assert array.shape == (config.max_batch_size, *each.dims)
        if each.label_filename:
            lines = (folder / each.label_filename).read_text().splitlines()
            assert lines == ["cat", "dog", "traffic light"]


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    network = small_detector("yolov2")
    (tmp_path / "photos").mkdir()
    for name, message in (("photos", "no model folder of Triton"), ("a b", "letters and digits")):
        with pytest.raises(UsageError, match=message):
            dt.export(network, tmp_path / name, to="triton")
    with pytest.raises(UsageError, match="max_batch=0: must be at least 1"):
        dt.export(network, tmp_path / "net", to="triton", max_batch=0)
    assert [each.name for each in tmp_path.iterdir()] == ["photos"]


@pytest.mark.usefixtures("small_folder")
def test_the_command_verifies_the_file_inside(capsys: pytest.CaptureFixture[str]) -> None:
    words = "convert net.cfg net.weights -o repository-model --to triton"
    Path("repository-model").mkdir()
    Path("repository-model/config.pbtxt").touch()  # an older one is replaced
    assert main(words.split()) == 0
    printed = capsys.readouterr().out
    assert "wrote repository-model\n" in printed
    assert "ok   boxes" in printed
