"""What was converted is compared with the network: what is wrong fails."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_network import CFG

import darknet_torch as dt
from darknet_torch.errors import UsageError
from darknet_torch.exporters.verification import Check, verify
from darknet_torch.network import Network

onnx = pytest.importorskip("onnx", reason='needs the extra "onnx"')
pytest.importorskip("onnxscript", reason='needs the extra "onnx"')
pytest.importorskip("onnxruntime", reason='needs the extra "onnx"')

pytestmark = pytest.mark.usefixtures("small_folder")


def test_what_is_right_passes(small_network: Network) -> None:
    for options in ({}, {"contents": "boxes"}, {"contents": "detections"}, {"dtype": "float16"}):
        dt.export(small_network, "net.onnx", **options)
        report = verify(small_network, "net.onnx")
        assert report.good, str(report)
        assert len(report.checks) >= 3
        assert all(line.startswith("ok") for line in str(report).splitlines())


@pytest.mark.parametrize("layer", [0, 1])
def test_one_weight_changed_by_one_percent_fails(layer: int, small_network: Network) -> None:
    dt.export(small_network, "net.onnx")
    model = onnx.load("net.onnx")
    tensors = [each for each in model.graph.initializer if each.name.endswith("conv.weight")]
    values = onnx.numpy_helper.to_array(tensors[layer]).copy()
    values.flat[int(np.abs(values).argmin())] *= 1.01
    tensors[layer].CopyFrom(onnx.numpy_helper.from_array(values, tensors[layer].name))
    onnx.save(model, "changed.onnx")
    assert verify(small_network, "net.onnx").good
    assert not verify(small_network, "changed.onnx").good


@pytest.mark.parametrize("ending", [".pt2", ".ts", ".xml", ".safetensors", ".weights"])
def test_the_least_weight_changed_by_one_percent_fails(ending: str, small_network: Network) -> None:
    """Whatever the format; the outputs alone would hardly show it."""
    if ending == ".xml":
        pytest.importorskip("openvino", reason='needs the extra "openvino"')
    dt.export(small_network, f"right{ending}")
    changed = dt.load("net.cfg", "net.weights", names="net.names")
    weight = changed.layers[1].conv.weight
    with torch.no_grad():
        weight.view(-1)[int(weight.abs().argmin())] *= 1.01
    dt.export(changed, f"wrong{ending}")
    right, wrong = (
        verify(small_network, f"{name}{ending}", trusted=True) for name in ("right", "wrong")
    )
    assert right.good, str(right)
    assert right.checks[0].what.startswith("weights, ")
    assert [check.good for check in wrong.checks].count(False) >= 1
    assert not wrong.checks[0].good


@pytest.mark.parametrize("ending", [".onnx", ".xml"])
def test_all_weights_of_half_precision_are_compared(ending: str, small_network: Network) -> None:
    if ending == ".xml":
        pytest.importorskip("openvino", reason='needs the extra "openvino"')
    for name, values in small_network.named_parameters():
        if name.endswith("bias"):  # else zeros, of which ONNX keeps one tensor for all
            torch.nn.init.normal_(values)
    dt.export(small_network, f"net{ending}", dtype="float16")
    report = verify(small_network, f"net{ending}")
    assert report.checks[0].what == "weights, 4 of 4 tensors"
    assert report.good, str(report)


def test_files_of_weights_are_compared(small_network: Network) -> None:
    for options in ({}, {"fuse": True}):
        for name in ("again.safetensors", "again.pt", "again.weights"):
            dt.export(small_network, name, **options)
            report = verify(small_network, name)
            assert report.good, str(report)
            assert report.checks[0].what == f"weights, {4 if options else 8} of " + (
                "4 tensors" if options else "8 tensors"
            )


def test_detections_are_counted(small_network: Network) -> None:
    """Where none passes the usual threshold a lower one is taken."""
    with torch.no_grad():
        small_network.layers[1].conv.bias.view(2, 7)[:, 4] -= 4  # objectness below .02
    assert not len(dt.detect(small_network, dt.SAMPLE))  # type: ignore[arg-type]
    dt.export(small_network, "net.onnx")
    report = verify(small_network, "net.onnx")
    assert report.good, str(report)
    found = [check for check in report.checks if "detections" in check.what]
    assert [check.what for check in found] == ["detections, probability", "detections, 1 - IoU"]
    assert all(check.compared and f" of {check.compared}: " in str(check) for check in found)


def test_nothing_compared_is_not_good(small_network: Network) -> None:
    """A file with NMS inside has a threshold of its own."""
    dt.export(small_network, "net.onnx", contents="detections", threshold=0.99)
    report = verify(small_network, "net.onnx")
    assert not report.good
    assert "none detections, probability: there was nothing to compare" in str(report)
    assert not Check("weights, 0 of 4 tensors", 0.0, 0.0, 0).good


@pytest.mark.parametrize(("path", "owner"), [("net.xml", "net.param"), ("net.param", "net.xml")])
def test_another_formats_file_is_not_replaced(
    path: str, owner: str, small_network: Network
) -> None:
    Path(owner).write_text("x")
    Path("net.bin").write_bytes(b"theirs")
    with pytest.raises(
        UsageError, match=rf"{path}: would replace net.bin, which belongs to {owner}"
    ):
        dt.export(small_network, path)
    assert Path("net.bin").read_bytes() == b"theirs"


def test_files_that_cannot_be_compared(small_network: Network) -> None:
    dt.export(small_network, "cut.weights", cutoff=1)
    with pytest.raises(UsageError, match=r"cut.weights: is of another network, of 1 layers"):
        verify(small_network, "cut.weights")
    Path("net.engine").write_text("")
    with pytest.raises(UsageError, match=r"net.engine: the ending must be one of .onnx, .xml"):
        verify(small_network, "net.engine")
    with pytest.raises(UsageError, match=r"net.weights: no engine runs it"):
        verify(small_network, "net.weights", engine="openvino")


def test_networks_of_no_photos_are_verified_on_random_numbers() -> None:
    network = dt.build("[net]\nwidth=8\nheight=8\nchannels=5\n[conv]\nfilters=2\nsize=3\npad=1\n")
    dt.export(network, "five.onnx")
    report = verify(network, "five.onnx")
    assert report.good, str(report)
    assert report.checks[1].difference > 0


def test_another_letterbox_rule_fails(small_network: Network) -> None:
    dt.export(small_network, "net.onnx")
    model = onnx.load("net.onnx")
    for each in model.metadata_props:
        if each.key == "letterbox":
            assert each.value == "false"
            each.value = "true"
    onnx.save(model, "letterboxed.onnx")
    assert not verify(small_network, "letterboxed.onnx").good


def test_the_difference_that_standard_nms_makes_is_reported() -> None:
    cfg = CFG.replace("10,14, 30,40", "60,60, 64,64") + "nms_kind=greedynms\n"
    torch.manual_seed(1)
    network = dt.build(cfg, names="net.names")
    options = {"nms_kind": "standard", "threshold": 0.1, "nms": 0.2}
    dt.export(network, "net.onnx", contents="detections", **options)
    report = verify(network, "net.onnx")
    assert report.good, str(report)
    beside = [each for each in report.checks if each.what.startswith("beside nms_kind=greedynms")]
    assert len(beside) == 2
    assert max(check.difference for check in beside) > 1e-3


def test_the_bound_can_be_given(small_network: Network) -> None:
    dt.export(small_network, "net.onnx")
    assert not verify(small_network, "net.onnx", bound=1e-12).good


def test_nan_is_not_good() -> None:
    assert not Check("output", float("nan"), 1.0).good
