"""On a full disk every verb ends with one line and status 2, and leaves nothing half-written."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from full_disk import limited_files
from PIL import Image

from darknet_torch.cli import main


@pytest.fixture
def data(small_folder: Path) -> None:
    """A data set of one image, data.yaml."""
    assert small_folder == Path.cwd()
    Path("images").mkdir()
    Path("labels").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save("images/a.png")
    Path("labels/a.txt").write_text("0 0.5 0.5 0.2 0.2\n1 0.2 0.2 0.1 0.1\n")
    Path("data.yaml").write_text("val: images\nnames: [ant, bee]\n")


def files() -> set[Path]:
    return {path for path in Path().rglob("*") if path.is_file()}


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("size", [0, 30])
@pytest.mark.parametrize(
    "words",
    [
        "detect net.cfg net.weights images/a.png --threshold 0.01 --save picture",
        "detect net.cfg net.weights images/a.png --threshold 0.01 --save txt",
        "detect net.cfg net.weights images/a.png --threshold 0.01 --save json",
        "detect net.cfg net.weights images/a.png --threshold 0.01 --save voc",
        "evaluate net.cfg net.weights data.yaml --cache cached",
        "evaluate net.cfg net.weights data.yaml --out results",
        "data convert data.yaml -o new --to coco",
        "data convert data.yaml -o new --to voc",
        "data convert data.yaml -o new --to darknet --pictures copy",
        "convert net.cfg net.weights -o new.weights",
        "convert net.cfg net.weights -o new.safetensors",
        "convert net.cfg net.weights -o new.pt",
        "convert net.cfg net.weights -o new.ts",
    ],
)
def test_files(words: str, size: int, capsys: pytest.CaptureFixture[str]) -> None:
    before = files()
    with limited_files(size):
        status = main([*words.split(), "-q"])
    printed = capsys.readouterr().err
    assert status == 2, printed
    assert "cannot be" in printed
    assert printed.count("\n") == 1
    for path in files() - before:
        if path.suffix != ".png" and path.parent.name != "cached":  # links; lines of records
            assert path.read_text() == "" or path.read_text().endswith("\n"), path


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("words", ["models", "data check {}/data.yaml", "detect --help"])
@pytest.mark.usefixtures("data")
def test_output(words: str) -> None:
    code = "import sys; from darknet_torch.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *words.format(Path.cwd()).split()]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr == "darknet-torch: the output: No space left on device\n"


@pytest.mark.usefixtures("data")
def test_a_folder_without_permission(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, os.strerror(13), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert main("evaluate net.cfg net.weights data.yaml --out results -q".split()) == 2
    assert capsys.readouterr().err == "darknet-torch: results: Permission denied\n"
