"""The command: what it prints and writes, its exit status, its speed where no network is needed."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import darknet_torch as dt
from darknet_torch.cli import main

CFG = """[net]
width=32
height=32
channels=3
[convolutional]
filters=14
size=4
stride=4
activation=linear
[yolo]
mask=0,1
anchors=4,6, 9,8
classes=2
num=2
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with net.cfg, net.weights, net.names and two images; it is the current folder."""
    torch.manual_seed(1)
    (tmp_path / "net.cfg").write_text(CFG)
    (tmp_path / "net.names").write_text("ant\nbee\n")
    dt.save(dt.build(tmp_path / "net.cfg"), tmp_path / "net.weights")
    (tmp_path / "photos").mkdir()
    for name, size in (("a.png", (50, 40)), ("b.jpg", (40, 60))):
        Image.effect_noise(size, 80).convert("RGB").save(tmp_path / "photos" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_detect_writes_the_requested_files(files, capsys) -> None:
    arguments = (
        "detect net.cfg net.weights photos --threshold 0.3 --save picture,crops,txt,json,voc"
    )
    assert main(arguments.split()) == 0
    printed = capsys.readouterr().out
    detections = dt.detect(dt.load("net.cfg", "net.weights"), "photos/a.png", threshold=0.3)
    assert len(detections) > 1
    assert f"photos/a.png: {detections}" in printed
    out = files / "detections"
    with Image.open(out / "a.jpg") as image:
        assert image.size == (50, 40)
    assert json.loads((out / "a.json").read_text()) == json.loads(detections.to_json())
    assert (out / "a.txt").read_text() == detections.to_yolo()
    assert (out / "b.xml").read_text().startswith("<annotation>")
    assert sorted(p.name for p in (out / "a-crops").iterdir())[0] == "000.jpg"
    assert not list(out.rglob(".*")), "a temporary file is left"


def test_a_warning_of_many_images_is_counted(files, capsys) -> None:
    """The first one in full, and how many others there are."""
    network = dt.load("net.cfg", "net.weights")
    with torch.no_grad():
        network.layers[0].conv.bias[2] = 200  # the exponential is infinite
        network.layers[0].conv.bias[4:7] = 9
    dt.save(network, "net.weights")
    (files / "photos" / "c.png").write_bytes((files / "photos" / "a.png").read_bytes())
    assert main("detect net.cfg net.weights photos --save none".split()) == 0
    warned = [line for line in capsys.readouterr().err.splitlines() if "warning: " in line]
    assert len(warned) == 2
    assert re.search(r"photos/a\.png: \d+ of \d+ boxes are infinite or NaN: their", warned[0])
    assert warned[1] == "warning: 2 more images: boxes are infinite or NaN"


def test_detect_json(files, capsys) -> None:
    assert main("detect net.cfg net.weights photos --json --save none".split()) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(each["path"]).name for each in shown] == ["a.png", "b.jpg"]
    assert not (files / "detections").exists()


def test_one_name_twice(files) -> None:
    (files / "more").mkdir()
    (files / "photos" / "a.png").rename(files / "more" / "b.png")
    assert main("detect net.cfg net.weights photos more".split()) == 0
    assert sorted(p.name for p in (files / "detections").iterdir()) == ["b-2.jpg", "b.jpg"]


def test_the_image_itself_is_not_overwritten(files, capsys) -> None:
    before = (files / "photos" / "b.jpg").read_bytes()
    assert main("detect net.cfg net.weights photos/b.jpg --out photos".split()) == 2
    assert "would overwrite" in capsys.readouterr().err
    assert (files / "photos" / "b.jpg").read_bytes() == before


def test_a_broken_image_is_reported_at_the_end(files, capsys) -> None:
    (files / "photos" / "a.png").write_bytes(b"nonsense")
    assert main("detect net.cfg net.weights photos --batch-size 2".split()) == 1
    captured = capsys.readouterr()
    assert "photos/b.jpg: Detections" in captured.out
    where, error = captured.err.splitlines()
    assert where.startswith("computing on ")
    assert "a.png" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("detect nosuch", "nosuch"),
        ("detect net.cfg photos", "no weights given"),
        ("detect net.cfg missing.weights photos", "missing.weights: cannot be read"),
        ("detect net.cfg net.weights nowhere.jpg --threshold 3", "threshold=3.0: must be"),
        ("detect net.cfg net.weights photos --classes wasp", "'wasp' is no class"),
        ("detect net.cfg net.weights photos --classes ,", "--classes: ,: must be names or indices"),
        ("detect net.cfg net.weights photos --device gpu", "--device gpu"),
        (
            "detect net.cfg net.weights photos --device cpu --decoder nvjpeg",
            "decoder=nvjpeg: decodes on a graphics card, and the network is on the cpu",
        ),
        ("detect net.cfg net.weights photos --save txt,gif", "--save gif"),
        ("detect net.cfg net.weights empty/*.jpg", "no file matches"),
        ("summary net.names", "net.names:1"),
        ("models yolov9", "yolov9"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(files, capsys, arguments, message) -> None:
    assert main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("darknet-torch: ")
    assert error.count("\n") == 1


def test_truncated_weights(files, capsys) -> None:
    whole = (files / "net.weights").read_bytes()
    (files / "net.weights").write_bytes(whole[:-40])
    assert main("detect net.cfg net.weights photos".split()) == 2
    assert (
        "layer 0 [convolutional] weights: 672 floats expected, 662 left" in capsys.readouterr().err
    )


def test_summary(files, capsys) -> None:
    assert main(["summary", "net.cfg", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["parameters"] == 14 * 3 * 16 + 14
    assert summary["flops"] == 2 * 14 * 3 * 16 * 8 * 8
    assert summary["rows"][0]["output"] == [14, 8, 8]
    assert summary["memory"] == 4 * (3 * 32 * 32 + 14 * 8 * 8)
    assert main(["summary", "net.cfg", "--width", "64"]) == 0
    assert "64 x   32 x    3" in capsys.readouterr().out


def test_check_of_files_with_their_cfg_inside(files, capsys) -> None:
    network = dt.load("net.cfg", "net.weights")
    dt.export(network, "net.safetensors")
    assert main(["check", "net.safetensors"]) == 0
    assert "net.safetensors: 2 layers, the cfg inside; version 0.2.5" in capsys.readouterr().out
    Path("net.onnx").write_bytes(b"\x08")
    assert main(["check", "net.onnx"]) == 1
    assert "darknet-torch verify CFG WEIGHTS net.onnx checks it" in capsys.readouterr().out


def test_check(files, capsys) -> None:
    assert main(["check", "net.cfg", "net.weights"]) == 0
    assert "fills 2 layers" in capsys.readouterr().out
    (files / "net.cfg").write_text(CFG.replace("stride=4", "stride=4\nfliters=3"))
    assert main(["check", "net.cfg"]) == 1
    message = "net.cfg:9: [convolutional] fliters: unknown option; did you mean filters?"
    assert message in capsys.readouterr().out
    assert main(["check", "net.cfg", "net.weights", "--mode", "strict"]) == 1


def test_models(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DARKNET_TORCH_CACHE", str(tmp_path))
    (tmp_path / "yolov4-tiny.weights").write_bytes(bytes(24251276))
    assert main(["models", "yolov4-tiny*"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "yolov4-tiny                   416x416   24.3 MB  here COCO         40.2 AP50 at 416x416",
        "yolov4-tiny.conv.29                 -   19.8 MB  -    layers 0-28 of yolov4-tiny",
        f"cache: {tmp_path}",
    ]
    assert main(["models", "--json"]) == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert [name for name in entries if entries[name]["cached"]] == ["yolov4-tiny"]
    assert entries["yolov4.conv.137"]["layers"] == 137
    assert main(["models"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines()[:-1])) <= 100


def test_models_are_searched(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DARKNET_TORCH_CACHE", str(tmp_path))
    assert main(["models", "--search", "Open", "images"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "yolov3-openimages",
        "cache:",
    ]
    assert main(["models", "yolov4-p*", "--search", "coco", "--json"]) == 0
    found = [entry["name"] for entry in json.loads(capsys.readouterr().out)]
    assert found == ["yolov4-p5", "yolov4-p6"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("models --search imgenet", "imgenet: no model fits; did you mean imagenet"),
        ("models go --search coco", "go: none of these models fits coco"),
        ("models yolov4tiny", "yolov4tiny: no such model; did you mean yolov4-tiny?"),
    ],
)
def test_models_that_are_not_there(words, message, capsys) -> None:
    assert main(words.split()) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["detect", "--help"], ["models"]])
def test_torch_stays_away(arguments) -> None:
    code = (
        "import sys; from darknet_torch.cli import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_names_are_looked_for(files, capsys) -> None:
    """Beside the cfg, in the current folder, in the package; else the error lists the places."""
    (files / "net.names").rename(files / "photos" / "other.names")
    network = dt.load("net.cfg", "net.weights", names="photos/other.names")
    assert network.names == ("ant", "bee")
    assert dt.load("net.cfg", "net.weights").names == ()
    assert len(dt.load("net.cfg", "net.weights", names="coco.names").names) == 80
    assert main("detect net.cfg net.weights photos --names no.names".split()) == 2
    error = capsys.readouterr().err
    assert "names=no.names: no such file; looked for no.names, " in error
    assert "cfg/no.names" in error


def test_interrupted_while_it_is_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupt:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "darknet_torch.cli.command":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "darknet_torch.cli.command")
    monkeypatch.setattr(sys, "meta_path", [Interrupt(), *sys.meta_path])
    assert main(["models"]) == 130
    assert capsys.readouterr() == ("", "")
