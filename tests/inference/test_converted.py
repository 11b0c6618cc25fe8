"""Converted files as networks, the choice among engines, and the check of what was converted."""

import json
import time
from pathlib import Path
from typing import Any

import keys
import numpy as np
import pytest
import torch
from torch import Tensor

import darknet_torch as dt
from darknet_torch.cli import main
from darknet_torch.errors import UsageError
from darknet_torch.exporters.verification import Check, verify
from darknet_torch.inference import converted, engines
from darknet_torch.inference.converted import Converted
from darknet_torch.network import Network
from darknet_torch.speed import engine_choice
from darknet_torch.speed.engine_choice import choose, with_engine

onnx = pytest.importorskip("onnx", reason='needs the extra "onnx"')
pytest.importorskip("onnxscript", reason='needs the extra "onnx"')
pytest.importorskip("onnxruntime", reason='needs the extra "onnx"')

MODELS = keys.SHARED / "models"
needs_shared = pytest.mark.skipif(not MODELS.is_dir(), reason=f"{keys.SHARED} is not there")

CFG = """[net]
width=64
height=64
channels=3
[convolutional]
batch_normalize=1
filters=8
size=3
stride=4
pad=1
activation=leaky
[convolutional]
filters=14
size=4
stride=4
activation=linear
[yolo]
mask=0,1
anchors=10,14, 30,40
classes=2
num=2
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """net.cfg, net.weights and net.names in the current folder; a cache of its own."""
    monkeypatch.setenv("DARKNET_TORCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    Path("net.cfg").write_text(CFG)
    Path("net.names").write_text("ant\nbee\n")
    dt.save(dt.build("net.cfg"), "net.weights")
    return tmp_path


@pytest.fixture
def network() -> Network:
    return dt.load("net.cfg", "net.weights")


# ---- loading


def test_a_file_tells_its_network(network: Network) -> None:
    dt.export(network, "net.onnx")
    for loaded in (dt.load("net.onnx"), dt.load("net.cfg", "net.onnx")):
        assert isinstance(loaded, Converted)
        assert loaded.engine == "onnxruntime"
        assert loaded.names == ("ant", "bee")
        assert loaded.input_size == (64, 64)
    Path("other.names").write_text("cat\ndog\n")
    assert dt.load("net.onnx", names="other.names").names == ("cat", "dog")
    assert dt.load("net.onnx", width=96, height=128).input_size == (96, 128)


def test_files_of_others(network: Network) -> None:
    """A file without our metadata needs the cfg beside it."""
    dt.export(network, "net.onnx")
    model = onnx.load("net.onnx")
    del model.metadata_props[:]
    onnx.save(model, "bare.onnx")
    with pytest.raises(UsageError, match=r"bare.onnx: no cfg inside; load\(cfg, 'bare.onnx'\)"):
        dt.load("bare.onnx")
    x = torch.rand(1, 3, 64, 64)
    assert torch.allclose(dt.load("net.cfg", "bare.onnx")(x)[0], network(x)[0], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("none.onnx",), {}, "none.onnx: cannot be read: no such file"),
        (("damaged.onnx",), {}, "damaged.onnx: is no such file, or damaged"),
        (("net.onnx",), {"engine": "tensorflow"}, "engine tensorflow: must be one of"),
        (("net.onnx",), {"engine": "torch"}, "torch takes .pt2, .torchscript, .ts files"),
        (("net.onnx",), {"partial": True}, "partial is for .weights files"),
        (("net.cfg", "net.weights"), {"engine": "opencv"}, "engine is for converted files"),
        (("fixed.onnx",), {"width": 96}, "was exported for an input of"),
    ],
)
def test_wrong_files(
    arguments: tuple[str, ...], options: dict[str, Any], message: str, network: Network
) -> None:
    dt.export(network, "net.onnx")
    dt.export(network, "fixed.onnx", dynamic_size=False)
    Path("damaged.onnx").write_bytes(b"\x08\xff" * 100)
    with pytest.raises(UsageError, match=message) as error:
        dt.load(*arguments, **options)
    assert "\n" not in str(error.value)


def test_an_engine_that_is_not_installed(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    dt.export(network, "net.onnx")
    monkeypatch.setitem(
        engines.ENGINES, "openvino", engines.ENGINES["openvino"]._replace(package="no_openvino")
    )
    with pytest.raises(UsageError, match="no_openvino is not installed"):
        dt.load("net.onnx", engine="openvino")


# ---- the choice


def test_the_fastest_engine_is_found_and_remembered(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the one that was chosen slowed, another is."""
    calls = 0
    started = engine_choice._converted

    def counted(one: Network, name: str) -> Converted:
        nonlocal calls
        calls += 1
        return started(one, name)

    monkeypatch.setattr(engine_choice, "_converted", counted)
    first = choose(network)
    measured = calls
    assert first in engine_choice.CHOICES
    assert measured > 0
    assert choose(network) == first
    assert calls == measured

    slowed(first, network, monkeypatch)
    assert choose(network) == first  # as remembered
    second = choose(network, again=True)
    assert second != first
    assert choose(network) == second
    kept = list((Path("cache") / "engines").iterdir())
    assert {path.suffix for path in kept} == {".json", ".onnx"}
    assert second in json.loads((Path("cache") / "engines" / "engines.json").read_text()).values()


def slowed(name: str, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Network.forward if name == "torch" else Converted.forward

    def late(self: Any, x: Tensor) -> Any:
        if name in ("torch", self.__dict__.get("engine")):
            time.sleep(0.05)
        return forward(self, x)

    monkeypatch.setattr(type(network) if name == "torch" else Converted, "forward", late)


def test_other_weights_are_another_choice(network: Network) -> None:
    choose(network)
    with torch.no_grad():
        next(network.parameters()).mul_(1.5)
    choose(network)
    choose(network, batch=2)
    assert len(json.loads((Path("cache") / "engines" / "engines.json").read_text())) == 3
    assert len(list((Path("cache") / "engines").glob("*.onnx"))) == 2


def test_a_damaged_memory_is_written_anew(network: Network) -> None:
    choose(network)
    memory = Path("cache") / "engines" / "engines.json"
    for damage in ("{", "[]", '{"a": 1}'):
        memory.write_text(damage)
        assert choose(network) in json.loads(memory.read_text()).values()


def test_every_engine_detects_the_same(network: Network) -> None:
    photo = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8)
    expected = dt.detect(network, photo, threshold=0.1)
    assert len(expected) > 0
    for name in engine_choice.CHOICES:
        if name in ("auto", "torch") or engines.installed(name):
            run: Any = with_engine(network, name)
            detections = dt.detect(run, photo, threshold=0.1)
            assert torch.allclose(detections.xyxy, expected.xyxy, atol=1e-3)  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="engine tensorflow: must be one of auto, torch"):
        with_engine(network, "tensorflow")


# ---- verification


def test_what_is_right_passes(network: Network) -> None:
    for options in ({}, {"contents": "boxes"}, {"contents": "detections"}, {"dtype": "float16"}):
        dt.export(network, "net.onnx", **options)
        report = verify(network, "net.onnx")
        assert report.good, str(report)
        assert len(report.checks) >= 3
        assert all(line.startswith("ok") for line in str(report).splitlines())


@pytest.mark.parametrize("layer", [0, 1])
def test_one_weight_changed_by_one_percent_fails(layer: int, network: Network) -> None:
    dt.export(network, "net.onnx")
    model = onnx.load("net.onnx")
    tensors = [each for each in model.graph.initializer if each.name.endswith("conv.weight")]
    values = onnx.numpy_helper.to_array(tensors[layer]).copy()
    values.flat[int(np.abs(values).argmin())] *= 1.01
    tensors[layer].CopyFrom(onnx.numpy_helper.from_array(values, tensors[layer].name))
    onnx.save(model, "changed.onnx")
    assert verify(network, "net.onnx").good
    assert not verify(network, "changed.onnx").good


@pytest.mark.parametrize("ending", [".pt2", ".ts", ".xml", ".safetensors", ".weights"])
def test_the_least_weight_changed_by_one_percent_fails(ending: str, network: Network) -> None:
    """Whatever the format; the outputs alone would hardly show it."""
    if ending == ".xml":
        pytest.importorskip("openvino", reason='needs the extra "openvino"')
    dt.export(network, f"right{ending}")
    changed = dt.load("net.cfg", "net.weights", names="net.names")
    weight = changed.layers[1].conv.weight
    with torch.no_grad():
        weight.view(-1)[int(weight.abs().argmin())] *= 1.01
    dt.export(changed, f"wrong{ending}")
    right, wrong = verify(network, f"right{ending}"), verify(network, f"wrong{ending}")
    assert right.good, str(right)
    assert right.checks[0].what.startswith("weights, ")
    assert [check.good for check in wrong.checks].count(False) >= 1
    assert not wrong.checks[0].good


@pytest.mark.parametrize("ending", [".onnx", ".xml"])
def test_all_weights_of_half_precision_are_compared(ending: str, network: Network) -> None:
    if ending == ".xml":
        pytest.importorskip("openvino", reason='needs the extra "openvino"')
    for name, values in network.named_parameters():
        if name.endswith("bias"):  # else zeros, of which ONNX keeps one tensor for all
            torch.nn.init.normal_(values)
    dt.export(network, f"net{ending}", dtype="float16")
    report = verify(network, f"net{ending}")
    assert report.checks[0].what == "weights, 4 of 4 tensors"
    assert report.good, str(report)


def test_files_of_weights_are_compared(network: Network) -> None:
    for options in ({}, {"fuse": True}):
        for name in ("again.safetensors", "again.pt", "again.weights"):
            dt.export(network, name, **options)
            report = verify(network, name)
            assert report.good, str(report)
            assert report.checks[0].what == f"weights, {4 if options else 8} of " + (
                "4 tensors" if options else "8 tensors"
            )


def test_files_that_cannot_be_compared(network: Network) -> None:
    dt.export(network, "cut.weights", cutoff=1)
    with pytest.raises(UsageError, match=r"cut.weights: is of another network, of 1 layers"):
        verify(network, "cut.weights")
    Path("net.param").write_text("")
    with pytest.raises(UsageError, match=r"net.param: the ending must be one of .onnx, .xml"):
        verify(network, "net.param")
    with pytest.raises(UsageError, match=r"net.weights: no engine runs it"):
        verify(network, "net.weights", engine="openvino")


def test_networks_of_no_photos_are_verified_on_random_numbers() -> None:
    network = dt.build("[net]\nwidth=8\nheight=8\nchannels=5\n[conv]\nfilters=2\nsize=3\npad=1\n")
    dt.export(network, "five.onnx")
    report = verify(network, "five.onnx")
    assert report.good, str(report)
    assert report.checks[1].difference > 0


def test_another_letterbox_rule_fails(network: Network) -> None:
    dt.export(network, "net.onnx")
    model = onnx.load("net.onnx")
    for each in model.metadata_props:
        if each.key == "letterbox":
            assert each.value == "false"
            each.value = "true"
    onnx.save(model, "letterboxed.onnx")
    assert not verify(network, "letterboxed.onnx").good


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


def test_the_bound_can_be_given(network: Network) -> None:
    dt.export(network, "net.onnx")
    assert not verify(network, "net.onnx", bound=1e-12).good


def test_nan_is_not_good() -> None:
    assert not Check("output", float("nan"), 1.0).good


# ---- the command


def test_convert_verifies(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "net.cfg", "net.weights", "-o", "net.onnx"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "wrote net.onnx"
    assert all(line.startswith("ok") for line in lines[1:])
    assert len(lines) > 3
    assert main(["verify", "net.cfg", "net.weights", "net.onnx", "--engine", "onnxruntime"]) == 0
    assert main(["verify", "net.cfg", "net.weights", "net.onnx", "--bound", "1e-12"]) == 1
    assert "FAIL" in capsys.readouterr().out


def test_convert_verifies_what_can_be_read_again(capsys: pytest.CaptureFixture[str]) -> None:
    convert = ["convert", "net.cfg", "net.weights", "-o"]
    for words in ("net.safetensors", "again.weights", "fused.weights --fuse --as-detector"):
        assert main([*convert, *words.split()]) == 0
        assert capsys.readouterr().out.count("\nok ") >= 4
    assert main([*convert, "cut.weights", "--cutoff", "1"]) == 0
    assert capsys.readouterr().out == "wrote cut.weights\n"


def test_convert_takes_a_word_for_suppression(capsys: pytest.CaptureFixture[str]) -> None:
    convert = ["convert", "net.cfg", "net.weights", "-o", "net.onnx", "--nms"]
    assert main([*convert, "standard"]) == 0
    origin = converted.read_origin(Path("net.onnx"))
    assert (origin.contents, origin.nms, origin.nms_kind) == ("detections", 0.45, "default")
    assert main([*convert, "0.3"]) == 0
    assert converted.read_origin(Path("net.onnx")).nms == 0.3
    with pytest.raises(SystemExit):
        main([*convert, "soft"])
    assert "argument --nms: soft: must be a number or standard" in capsys.readouterr().err


def test_convert_says_when_it_does_not_verify(capsys: pytest.CaptureFixture[str]) -> None:
    convert = ["convert", "net.cfg", "net.weights", "-o"]
    assert main([*convert, "net.onnx", "--no-verify", "--contents", "boxes"]) == 0
    assert capsys.readouterr().out == "wrote net.onnx\n"
    assert main([*convert, "back.weights", "--no-verify"]) == 0
    assert Path("back.weights").read_bytes() == Path("net.weights").read_bytes()
    assert main([*convert, "cut.weights", "--cutoff", "1"]) == 0
    assert len(dt.load("cut.cfg", "cut.weights").plan) == 1


def test_convert_changes_the_size(capsys: pytest.CaptureFixture[str]) -> None:
    convert = ["convert", "net.cfg", "net.weights", "-o", "net.onnx", "--fixed-size"]
    assert main([*convert, "--width", "96", "--height", "32"]) == 0
    assert dt.load("net.onnx").input_size == (96, 32)
    assert "FAIL" not in capsys.readouterr().out


def test_wrong_words_of_convert(capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        ("-o net.caffemodel", "the ending must be one of"),
        ("-o net.weights2 --to caffe", "format caffe: must be one of onnx"),
        ("-o net.pt --contents boxes", "state_dict has no option contents"),
        ("-o net.onnx --opset 9", "opset=9: must be at least 18"),
    ):
        assert main(["convert", "net.cfg", "net.weights", *words.split()]) == 2
        printed = capsys.readouterr().err
        assert message in printed
        assert printed.count("\n") == 1


def test_detect_with_an_engine(capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    Image.effect_noise((50, 40), 80).convert("RGB").save("a.png")
    printed = []
    for words in (
        "net.cfg net.weights a.png",
        "net.cfg net.weights a.png --engine torch",
        "net.cfg net.weights a.png --engine onnxruntime",
        "net.cfg net.weights a.png --engine auto",
        "net.onnx a.png",
        "net.onnx a.png --engine onnxruntime",
        "net.cfg net.onnx a.png",
    ):
        dt.export(dt.load("net.cfg", "net.weights"), "net.onnx")
        assert main(["detect", *words.split(), "--threshold", "0.1"]) == 0
        printed.append(capsys.readouterr().out)
    assert "a.png" in printed[0]
    assert set(printed) == {printed[0]}


@needs_shared
def test_a_real_model_from_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    model = MODELS / "yoloface-50k"
    (cfg,), (weights,) = (list(model.glob(f"*.{ending}")) for ending in ("cfg", "weights"))
    photos = [str(path) for path in sorted((keys.SHARED / "photos").glob("*.jpg"))[:3]]
    convert = ["convert", str(cfg), str(weights), "-o", "face.onnx", "--contents", "detections"]
    assert main([*convert, "--no-verify"]) == 0
    assert main(["verify", str(cfg), str(weights), "face.onnx", *photos]) == 0
    assert "detections, probability" in capsys.readouterr().out
