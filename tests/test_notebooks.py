"""Notebooks run, and show what is stored in them; what they show is escaped."""

import ast
import json
import re
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import darknet_torch as dt
from darknet_torch import zoo
from darknet_torch.errors import DownloadError

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "examples").glob("*.ipynb"))
HOSTILE = "<script>alert(1)</script>&\x1b"


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run the code of a cell; return the value of its last line, as Jupyter shows it."""
    *before, last = ast.parse(source).body
    is_value = isinstance(last, ast.Expr)
    exec(compile(ast.Module(before if is_value else [*before, last], []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if is_value else None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_it_says(path: Path, tmp_path, monkeypatch) -> None:
    try:
        zoo.fetch("yolov4-tiny")
    except DownloadError as error:
        pytest.skip(f"yolov4-tiny cannot be fetched here: {error}")
    monkeypatch.chdir(tmp_path)
    content = json.loads(path.read_text())
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    names: dict[str, Any] = {}
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(cells, start=1):
        value = run_cell("".join(cell["source"]), names)
        assert cell["execution_count"] == number
        for output in cell["outputs"]:
            assert repr(value) == "".join(output["data"]["text/plain"])
        if hasattr(value, "_repr_html_"):
            assert "<table>" in value._repr_html_()


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def detections(path: str | None, count: int = 2) -> dt.Detections:
    boxes = torch.tensor([[1.0, 2, 30, 20]]).repeat(count, 1)
    ids = torch.zeros(count, dtype=torch.int64)
    return dt.Detections(boxes, torch.full((count,), 0.5), ids, (HOSTILE,), 60, 40, path)


def test_detections(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (60, 40)).save(path)
    found = detections(str(path))
    page = found._repr_html_()
    parsed = Page(page)
    assert set(parsed.tags) == {"div", "p", "img", "table", "tr", "th", "td"}
    assert parsed.tags.count("tr") == 3
    assert parsed.text[-6:] == [HOSTILE.replace("\x1b", "\\x1b"), "0.50", "1", "2", "30", "20"]
    (shown,) = re.findall(r"base64,([^\"]+)", page)
    assert b64decode(shown) == found._repr_png_()
    image = Image.open(BytesIO(found._repr_png_() or b""))
    assert image.size == (60, 40)
    assert image.tobytes() == found.draw().tobytes()


def test_a_large_image_is_shown_smaller(tmp_path: Path) -> None:
    Image.new("RGB", (3000, 1500)).save(tmp_path / "a.png")
    found = dt.Detections.empty((), 3000, 1500, str(tmp_path / "a.png"))
    assert Image.open(BytesIO(found._repr_png_() or b"")).size == (1024, 512)
    assert "table" not in found._repr_html_()


@pytest.mark.parametrize("path", [None, "missing.png"])
def test_without_the_image_there_is_the_table(path: str | None) -> None:
    found = detections(path, 103)
    assert found._repr_png_() is None
    parsed = Page(found._repr_html_())
    assert "img" not in parsed.tags
    assert parsed.tags.count("tr") == 101
    assert "and 3 more" in parsed.text


def test_a_network(tmp_path: Path) -> None:
    cfg = "[net]\nwidth=8\nheight=8\nchannels=3\n[convolutional]\nfilters=2\nsize=3\npad=1\n"
    (tmp_path / "<b>x.cfg").write_text(cfg)
    network = dt.build(tmp_path / "<b>x.cfg")
    parsed = Page(network._repr_html_())
    assert set(parsed.tags) == {"div", "p", "table", "tr", "th", "td"}
    assert parsed.text[0] == repr(network)
    start = parsed.text.index("BFLOPs") + 1
    assert parsed.text[start : start + 6] == [
        *("0", "convolutional", "3 x 3 / 1", "8 x 8 x 3", "8 x 8 x 2", "56")
    ]
    assert parsed.text[-1] == str(network).splitlines()[-1]
