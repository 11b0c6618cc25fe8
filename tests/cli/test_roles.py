"""What a file of the command line is: told by its place and its content, and said in one line."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

import darknet_torch as dt
from darknet_torch.cli import main
from darknet_torch.cli.roles import CONVERTED, WEIGHTS, names_beside, role_of
from darknet_torch.errors import UsageError
from darknet_torch.inference import engines
from darknet_torch.network import checkpoint_file


@pytest.fixture(autouse=True)
def files(small_network, tmp_path: Path) -> Path:
    """The small network's folder with an image and descriptions of data."""
    Image.new("RGB", (40, 30)).save("a.jpg")
    shutil.copy("a.jpg", "photo.weights.old")
    Path("a.txt").write_text("0 .5 .5 .3 .3")
    Path("my.data").write_text("classes=2\nvalid=list.txt\n")
    Path("list.txt").write_text("a.jpg\n")
    Path("empty.weights").touch()
    Path("other").write_bytes(b"\x7fELF" + bytes(range(256)))
    Path("folder").mkdir()
    for name in ("net.backup", "net.conv.2", "net.weights (1)", "NET.WEIGHTS"):
        shutil.copy("net.weights", name)
    shutil.copy("net.cfg", "net.txt")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("net.cfg", "cfg"),
        ("net.txt", "cfg"),
        *((name, "weights") for name in ("net.weights", "net.backup", "net.conv.2")),
        ("net.weights (1)", "weights"),
        ("empty.weights", "weights"),
        ("a.jpg", "image"),
        ("photo.weights.old", "image"),
        ("my.data", "data set"),
        ("list.txt", "text"),
        ("net.names", "text"),
        ("folder", "folder"),
        ("other", "file"),
        ("nothing", None),
        ("a\0b", None),
    ],
)
def test_roles(name: str, role: str | None) -> None:
    assert role_of(name) == role


@pytest.mark.parametrize("name", ["net.backup", "net.conv.2", "net.weights (1)", "NET.WEIGHTS"])
def test_weights_of_any_ending(name: str) -> None:
    for cfg in ("net.cfg", "net.txt"):
        assert main(["detect", cfg, name, "a.jpg", "--save", "none", "-q"]) == 0
    assert main(["evaluate", "net.cfg", name, "list.txt", "--json"]) == 0
    assert main(["check", "net.cfg", name]) == 0
    assert main(["convert", "net.cfg", name, "-o", "x.safetensors", "--no-verify"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("detect net.weights net.cfg a.jpg", "net.weights and net.cfg are swapped: the cfg comes"),
        ("evaluate net.weights net.cfg list.txt", "net.weights and net.cfg are swapped"),
        ("convert net.backup net.cfg -o x.onnx", "net.backup and net.cfg are swapped"),
        ("detect net.weights a.jpg", "net.weights: a weights file; the cfg comes before it"),
        ("detect nett.cfg net.weights a.jpg", "nett.cfg: no such file, and no such model; did you"),
        ("detect nett.cfg net.weights a.jpg", "did you mean net.cfg?"),
        (
            "summary yolov4-tny",
            "yolov4-tny: no such file, and no such model; did you mean yolov4-t",
        ),
        ("summary yolov3.weights", "and no such model; did you mean yolov3?"),
        ("summary yolov3.cfg", "and no such model; did you mean yolov3?"),
        ("detect darknet53.conv.74 a.jpg", "darknet53.conv.74: only the first 74 layers, for"),
        ("summary q", "q: no such file, and no such model; `darknet-torch models` lists"),
        ("detect a.jpg", "a.jpg: an image; the network comes first, a name or CFG WEIGHTS"),
        (
            "detect my.data net.cfg net.weights a.jpg",
            "my.data: a data set; the network comes first",
        ),
        ("detect folder", "folder: a folder; the network comes first"),
        ("detect net.cfg a.jpg", "net.cfg: no weights given; they come behind the cfg"),
        ("convert net.cfg -o x.onnx", "net.cfg: no weights given; they come behind the cfg"),
        ("detect net.cfg net.wieghts a.jpg", "net.wieghts: cannot be read: No such file"),
        ("detect net.cfg net.wieghts a.jpg", "; did you mean net.weights?"),
        ("convert net.cfg a.jpg -o x.onnx", "a.jpg: an image; a weights file comes behind the cfg"),
        ("detect net.cfg --weights net.cfg a.jpg", "net.cfg: a cfg; a weights file comes behind"),
        (
            "detect yolov3 darknet53.conv.74",
            "darknet53.conv.74: only the first 74 layers, for",
        ),
        ("convert yolov4 yolov4.conv.137 -o x.onnx", "yolov4.conv.137: only the first 137 layers"),
        ("train yolov4 yolov4.conv.13 x.yaml", "yolov4.conv.13: cannot be read: No such file or"),
        ("train yolov4 yolov4.conv.13 x.yaml", "; did you mean yolov4.conv.137?"),
        ("generate net.cfg list.txt", "list.txt: a text; a weights file comes behind the cfg"),
    ],
)
def test_mistakes_in_the_words_of_the_shell(words: str, message: str, capsys) -> None:
    assert main(words.split()) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert "load(" not in printed


def test_the_only_weights_beside_the_cfg_are_named(capsys) -> None:
    for path in Path().glob("*.weights"):
        path.rename(path.with_suffix(".old"))
    Path("net.old").rename("net_best.weights")
    assert main(["detect", "net.cfg", "a.jpg"]) == 2
    assert "behind the cfg; there is net_best.weights" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["obj.names", "voc.names", "animals.names"])
def test_names_beside_the_cfg(name: str, capsys) -> None:
    """The one file with as many names as classes, and said aloud; never one with others."""
    Path("net.names").rename(name)
    assert names_beside("net.cfg", 3) is None
    assert main("detect net.cfg net.weights a.jpg --threshold 0.1 --save none".split()) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith(f"class names: {name}, which lies beside the cfg")
    assert "ant" in captured.out
    Path("more.names").write_text("cat\ndog\n")
    assert names_beside("net.cfg", 2) is None, "which of the two?"
    assert names_beside("yolov4-tiny", 2) is None


def test_names_of_the_data_set_beside_the_cfg(capsys) -> None:
    Path("data").mkdir()
    Path("net.names").rename("data/obj.names")
    Path("obj.data").write_text("classes=2\nnames=data/obj.names\n")
    Path("other.data").write_text("classes=2\nnames=gone.names\n")
    assert main("detect net.cfg net.weights a.jpg --threshold 0.1 --save none".split()) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("class names: obj.data, which lies beside the cfg")
    assert "ant" in captured.out
    Path("obj.data").write_text("classes=2\n")  # numbers are no names
    assert names_beside("net.cfg", 2) is None


def test_a_misspelt_model_in_python() -> None:
    with pytest.raises(UsageError, match="no such model; did you mean yolov4-tiny"):
        dt.load("yolov4-tny")


def test_endings_are_those_of_the_readers() -> None:
    """The command has them a second time, as the readers would import torch for every error."""
    assert set(CONVERTED) == set(engines.ENDINGS)
    assert set(checkpoint_file.ENDINGS) < set(WEIGHTS)
