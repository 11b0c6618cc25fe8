"""What the command prints of names with any characters, on consoles with few letters, too."""

import io
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from datasets import DETECTOR_CFG, write_image

import darknet_torch as dt
from darknet_torch.cli import main
from darknet_torch.cli.output import escaped_output, note, print_json

GBK = "汽车".encode("gbk")
SHOWN = r"\xc6\xfb\xb3\xb5"


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """net.cfg, net.weights, and net.names with a name in GBK and a terminal escape."""
    torch.manual_seed(1)
    (tmp_path / "net.cfg").write_text(DETECTOR_CFG)
    (tmp_path / "net.names").write_bytes(GBK + b"\n\x1b[2Jbee\n")
    dt.save(dt.build(tmp_path / "net.cfg"), tmp_path / "net.weights")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def photo(name: bytes, labels: str = "0 .5 .5 .4 .4\n") -> Path:
    path = Path("photos", os.fsdecode(name))
    write_image(path)
    path.with_suffix(".txt").write_text(labels)
    return path


def console(encoding: str, monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """Make standard output a console of that encoding, which refuses all other letters."""
    raw = io.BytesIO()
    monkeypatch.setattr(
        sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, write_through=True, newline="\n")
    )
    return raw


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
@pytest.mark.parametrize("json_too", [True, False])
def test_detect(encoding: str, json_too: bool, net: Path, monkeypatch) -> None:
    photo(GBK + b"\n.png")
    raw = console(encoding, monkeypatch)
    command = ["detect", "net.cfg", "net.weights", "photos", "--threshold", "0.1"]
    assert main([*command, "--save", "json,voc,picture", *(["--json"] if json_too else [])]) == 0
    text = raw.getvalue().decode(encoding)
    assert "\x1b" not in text
    if json_too:
        row = json.loads(text)
        assert row["path"] == f"photos/{SHOWN}\n.png"
        assert {each["class"] for each in row["detections"]} <= {SHOWN, r"\x1b[2Jbee"}
    else:
        assert text.startswith(f"photos/{SHOWN}\\n.png: Detections(")
    written = {path.suffix for path in Path("detections").iterdir()}
    assert written == {".json", ".xml", ".jpg"}


def test_evaluate_and_convert(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo(GBK + b".png")
    assert main("evaluate net.cfg net.weights photos --out out --csv".split()) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith(SHOWN)
    assert json.loads(Path("out/evaluation.json").read_text())["classes"][0]["class"] == SHOWN
    assert main("convert net.cfg net.weights -o new.safetensors --no-verify".split()) == 0
    assert dt.load("new.safetensors").names == (SHOWN, r"\x1b[2Jbee")


def test_names_that_are_the_same_are_not_written_anew(net: Path) -> None:
    Path("net.cfg").rename("old.cfg")
    network = dt.load("old.cfg", "net.weights", names="net.names")
    before = Path("net.names").read_bytes()
    dt.export(network, "net.weights")
    assert Path("net.names").read_bytes() == before


def test_json_on_a_console_without_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = console("ascii", monkeypatch)
    print_json(["é汽🚗"])
    assert json.loads(raw.getvalue()) == ["é汽🚗"]


def test_output_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = console("ascii", monkeypatch)
    stream = sys.stdout
    with escaped_output():
        sys.stdout.write("é\x1b[0m\ttab")
        assert sys.stdout.encoding == "ascii"
    assert sys.stdout is stream
    assert raw.getvalue() == rb"\xe9\x1b[0m" + b"\ttab"


def test_notes(capsys: pytest.CaptureFixture[str]) -> None:
    note("a\x1bb\n")
    assert capsys.readouterr().err == "a\\x1bb\\n\n"
