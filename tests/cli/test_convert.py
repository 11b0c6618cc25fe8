"""The command converts, verifies and detects with engines."""

from pathlib import Path

import keys
import pytest

import darknet_torch as dt
from darknet_torch.cli import main
from darknet_torch.inference import metadata

onnx = pytest.importorskip("onnx", reason='needs the extra "onnx"')
pytest.importorskip("onnxscript", reason='needs the extra "onnx"')
pytest.importorskip("onnxruntime", reason='needs the extra "onnx"')

pytestmark = pytest.mark.usefixtures("small_folder")

MODELS = keys.SHARED / "models"
needs_shared = pytest.mark.skipif(not MODELS.is_dir(), reason=f"{keys.SHARED} is not there")


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


def test_programs_want_trust_but_not_those_just_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "net.cfg", "net.weights", "-o", "net.ts"]) == 0
    assert capsys.readouterr().out.count("\nok ") >= 4
    for words in ("verify net.cfg net.weights net.ts", "detect net.ts", "evaluate net.ts x.yaml"):
        assert main(words.split()) == 2
        printed = capsys.readouterr().err
        assert "net.ts: is a program, which can do anything" in printed
        assert "--trust" in printed
        assert printed.count("\n") == 1
    assert main("verify net.cfg net.weights net.ts --trust".split()) == 0
    assert main("detect net.ts --trust --save none".split()) == 0


def test_convert_takes_a_word_for_suppression(capsys: pytest.CaptureFixture[str]) -> None:
    convert = ["convert", "net.cfg", "net.weights", "-o", "net.onnx", "--nms"]
    assert main([*convert, "standard"]) == 0
    origin = metadata.read_origin(Path("net.onnx"))
    assert (origin.contents, origin.nms, origin.nms_kind) == ("detections", 0.45, "default")
    assert main([*convert, "0.3"]) == 0
    assert metadata.read_origin(Path("net.onnx")).nms == 0.3
    assert main([*convert, "soft"]) == 2
    assert "--nms: soft: must be a number or standard" in capsys.readouterr().err


def test_convert_says_what_opencv_does_not_come_back_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["convert", "net.cfg", "net.weights", "-o", "net.onnx", "--contents", "detections"]
    for kind, said in (("diounms", True), ("default", False)):
        assert main([*words, "--nms-kind", kind, "--no-verify"]) == 0
        assert ("OpenCV does not come back from the loop" in capsys.readouterr().err) == said


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
        ("-o net.onnx --opset 9", "opset=9: must be at least 11"),
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
