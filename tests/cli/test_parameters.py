"""The command's options are the parameters of the functions that it calls."""

import argparse
import inspect
import sys
from pathlib import Path

import pytest

import darknet_torch as dt
from darknet_torch.cli import main
from darknet_torch.cli.convert import options_of_formats
from darknet_torch.cli.parameters import Parameter, add_parameters, parameters_of
from darknet_torch.exporters.formats import FORMATS, Format

TOY = '''
"""A format of a test."""
from pathlib import Path
from darknet_torch.network import Network


def write(network: Network, path: Path, *, sparkle: int = 3) -> None:
    """Write how many layers there are, and stars.

    Args:
        sparkle: how many stars.
    """
    path.write_text(f"{len(network.plan)} layers" + sparkle * "*")
'''
CFG = "[net]\nwidth=8\nheight=8\nchannels=3\n[convolutional]\nfilters=2\nactivation=linear\n"


@pytest.mark.parametrize(
    ("module", "function"),
    [
        ("darknet_torch.inference.detector", dt.detect),
        ("darknet_torch.inference.classifier", dt.classify),
        ("darknet_torch.evaluation.evaluator", dt.evaluate),
        ("darknet_torch.exporters.export", dt.export),
    ],
)
def test_what_is_read_is_what_is_there(module: str, function) -> None:
    read = parameters_of(module, function.__name__)
    keywords = {
        name: each.default
        for name, each in inspect.signature(function).parameters.items()
        if each.kind is inspect.Parameter.KEYWORD_ONLY
    }
    assert {name: each.default for name, each in read.items()} == keywords
    assert all(each.help for each in read.values())


def test_types_and_words() -> None:
    read = parameters_of("darknet_torch.exporters.export", "export")
    assert (read["nms"].types, read["nms"].words) == (("float", "bool"), ("standard",))
    assert read["contents"].words == ("raw", "boxes", "detections")
    assert read["fuse"] == Parameter("fuse", ("bool",), (), None, read["fuse"].help)
    assert read["fuse"].is_flag


def test_export_spells_out_the_options_of_all_formats() -> None:
    known = parameters_of("darknet_torch.exporters.export", "export")
    assert set(options_of_formats()) == set(known) - {"to"}


def test_a_format_from_outside(tmp_path: Path, monkeypatch, capsys) -> None:
    """One file and one line: its option is in the help, and reaches it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "toy_exporter.py").write_text(TOY)
    monkeypatch.setitem(FORMATS, "toy", Format((".toy",), "toy_exporter", "a toy"))
    with pytest.raises(SystemExit, match="0"):
        main(["convert", "--help"])
    page = capsys.readouterr().out
    assert "--sparkle N" in page
    assert "how many stars" in page
    (tmp_path / "net.cfg").write_text(CFG)
    dt.save(dt.build(CFG), "net.weights")
    assert main(["convert", "net.cfg", "net.weights", "-o", "net.toy", "--sparkle", "2"]) == 0
    assert (tmp_path / "net.toy").read_text() == "1 layers**"
    assert main(["convert", "net.cfg", "net.weights", "-o", "net.toy"]) == 0
    assert (tmp_path / "net.toy").read_text() == "1 layers***"
    assert main(["convert", "net.cfg", "net.weights", "-o", "net.pt", "--sparkle", "2"]) == 2
    assert "state_dict has no option sparkle; its options are fuse" in capsys.readouterr().err


def test_options_that_no_call_could_reach(capsys) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["convert", "--help"])
    page = capsys.readouterr().out
    assert "--max-batch N" in page
    assert "--device {cpu,cuda}" in page


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("--nms soft", "convert: --nms: soft: must be a number or standard"),
        ("--opset x", "convert: --opset: x: must be a whole number"),
        ("--threshold a=b", "convert: --threshold: a=b: must be a number"),
        ("--contents pictures", "convert: --contents: invalid choice"),
    ],
)
def test_wrong_words(text: str, error: str, capsys) -> None:
    assert main(["convert", "x.cfg", "-o", "x.onnx", *text.split()]) == 2
    assert error in capsys.readouterr().err


def test_import_makes_layers_known(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_layers.py").write_text(
        "from darknet_torch.layers import Layer, layer\n"
        "@layer('cli_identity')\n"
        "class CliIdentity(Layer):\n"
        "    pass\n"
    )
    (tmp_path / "net.cfg").write_text(CFG + "[cli_identity]\n")
    assert main(["summary", "net.cfg"]) == 2
    assert "unknown section" in capsys.readouterr().err
    assert main(["--import", "my_layers.py", "summary", "net.cfg"]) == 0
    assert "cli_identity" in capsys.readouterr().out
    sys.modules.pop("my_layers")


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("none.py", None, "must be a Python file"),
        ("net.cfg", CFG, "must be a Python file"),
        ("wrong.py", "1 / 0", "wrong.py: ZeroDivisionError: division by zero"),
    ],
)
def test_wrong_imports(name, content, error, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_text(content)
    assert main(["--import", name, "models"]) == 2
    assert error in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.3", 0.3),
        ("cell phone=.5,*=.25", {"cell phone": 0.5, "*": 0.25}),
        ("a=b=1e-1,", {"a=b": 0.1}),
    ],
)
def test_numbers_by_class(text: str, value: object) -> None:
    parser = argparse.ArgumentParser()
    add_parameters(parser, parameters_of("darknet_torch.inference.detector", "detect"))
    assert parser.parse_args(["--threshold", text]).threshold == value


@pytest.mark.parametrize("text", ["person", "person=high", "=.5", "person=.5,.25", "a=.5,a=.6"])
def test_no_numbers_by_class(text: str, capsys) -> None:
    assert main(["detect", "yolov4-tiny", "--threshold", text]) == 2
    what = "must be a number or numbers, one for each class (person=.5,*=.25)"
    assert f"detect: --threshold: {text}: {what}" in capsys.readouterr().err
