"""What README and docstrings show is what happens."""

import ast
import dataclasses
import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import api_docs
import pytest

import darknet_torch
from darknet_torch import zoo
from darknet_torch.cli import main
from darknet_torch.errors import DownloadError
from darknet_torch.heads.base import Head
from darknet_torch.layers import Layer

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [path for path in sorted((ROOT / "docs").rglob("*.md")) if path.name != "api.md"]
BCCD = ROOT.parent / "shared" / "datasets" / "bccd" / "BCCD"
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(darknet_torch.__path__, "darknet_torch.")
)


@pytest.fixture(scope="session")
def weights() -> Path:
    """The weights that README's examples use; the rest of the suite does without the network."""
    try:
        return zoo.fetch("yolov4-tiny")
    except DownloadError as error:
        pytest.skip(f"yolov4-tiny cannot be fetched here: {error}")


@pytest.mark.parametrize("module", MODULES)
def test_docstrings(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_examples_in_python(weights, tmp_path, monkeypatch, capsys) -> None:
    assert len(BLOCKS) == 2
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), names)
    assert (tmp_path / "out.png").stat().st_size > 1000
    assert (tmp_path / "copy.weights").read_bytes() == weights.read_bytes()
    assert repr(names["detections"]).startswith("Detections(5): cat 0.84, cup 0.74, person 0.74, ")
    assert repr(names["confident"]) == "Detections(3): cat 0.84, cup 0.74, person 0.74"
    assert [tuple(raw.shape) for raw in names["raw"]] == [(2, 255, 13, 13), (2, 255, 26, 26)]
    assert len(names["layers"]) == 38
    assert '"class": "cat"' in capsys.readouterr().out


def test_main_job(weights, tmp_path, monkeypatch, capsys) -> None:
    """The first command of README prints the table that README shows."""
    monkeypatch.chdir(tmp_path)
    assert main(["detect", "yolov4-tiny"]) == 0
    printed = capsys.readouterr().out
    shown = re.search(r"\n\n(    class .*?)\n\n", README, flags=re.DOTALL)
    assert shown
    for line in shown[1].splitlines():
        assert line.strip() in printed
    assert (tmp_path / "detections" / "sample.jpg").is_file()


def test_page_of_the_interface_is_current(capsys) -> None:
    """docs/api.md is what the docstrings say; `python tools/api_docs.py` writes it again."""
    assert api_docs.main(["--check"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(set(darknet_torch.__all__) - {"__version__"}))
def test_page_of_the_interface_has_every_public_name(name: str) -> None:
    assert f"### dt.{name}\n" in (ROOT / "docs" / "api.md").read_text()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_prints_what_it_says(path, request, tmp_path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text()))
    shown = re.search(r"[Ii]t prints:\n\n((?:    .*\n)+)", f"{text}\n")
    assert shown, "its docstring says what it prints"
    if "weights of yolov4-tiny" in text:
        request.getfixturevalue("weights")
    done = subprocess.run(
        [sys.executable, path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == dedent(shown[1])


@pytest.fixture
def users_folder(weights, tmp_path, monkeypatch) -> Path:
    """A folder with the files that the pages speak of: a network, an image, a data set."""
    copies = {
        "my.cfg": ROOT / "cfg" / "yolov4-tiny.cfg",
        "my.names": ROOT / "cfg" / "coco.names",
        "my.weights": weights,
        "street.jpg": ROOT / "cfg" / "sample.jpg",
        "cfg": ROOT / "cfg",
    }
    for name, path in copies.items():
        (tmp_path / name).symlink_to(path)
    boxes = [f"15 .5 .5 {w} {h}\n" for w in (0.1, 0.3, 0.42, 0.6) for h in (0.2, 0.4)]
    (tmp_path / "street.txt").write_text("".join(boxes))
    (tmp_path / "my.yaml").write_text("train: street.jpg\nval: street.jpg\nnames: my.names\n")
    (tmp_path / "my.txt").write_text("street.jpg\nmissing.jpg\n")
    (tmp_path / "my.data").write_text("classes=80\nvalid=my.txt\nnames=my.names\n")
    if BCCD.is_dir():
        (tmp_path / "BCCD").symlink_to(BCCD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("path", PAGES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_blocks_of_pages_run(path, request) -> None:
    """Blocks of ```python run, in the order of the page; ```python not-run is only shown."""
    blocks = re.findall(r"^```python\n(.*?)^```", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    if not blocks:
        return
    if any("BCCD" in block for block in blocks) and not BCCD.is_dir():
        pytest.skip(f"{BCCD} is not there")
    request.getfixturevalue("users_folder")
    names: dict = {"dt": darknet_torch}
    for block in blocks:
        exec(compile(block, str(path), "exec"), names)


@pytest.mark.parametrize(
    "path",
    [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))],
    ids=lambda p: f"{p.parent.name}/{p.stem}",
)
def test_links_of_pages_lead_somewhere(path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", path.read_text()):
        file = path.parent / target if target else path
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text()), f"{target}#{anchor}"


def anchors(page: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page; equal ones are numbered."""
    page = re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)
    slugs = [
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", page, flags=re.MULTILINE)
    ]
    numbered = [(slug, slugs[:place].count(slug)) for place, slug in enumerate(slugs)]
    return {f"{slug}-{number}" if number else slug for slug, number in numbered}


@pytest.mark.parametrize(("row", "cls"), [("a layer type", Layer), ("a head", Head)])
def test_contributing_names_what_is_there(row: str, cls: type[Layer]) -> None:
    """Methods and facts in the table of how to add something are those of the base classes."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    (cell,) = re.findall(rf"^\| {row} \|[^|]*\|(.*)\|$", page, re.MULTILINE)
    names = {name.removesuffix("()") for name in re.findall(r"`(\w+(?:\(\))?)`", cell)} - {"Head"}
    known = {*dir(cls), *(each.name for each in dataclasses.fields(cls))}
    assert len(names) > 10
    assert names <= known, names - known
    missing = set(Head.__abstractmethods__) - names if cls is Head else set()
    assert not missing
