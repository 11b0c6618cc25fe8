"""Other people's text: what is shown and written of names with any characters."""

import csv
import json
import warnings
from io import StringIO
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from darknet_torch.errors import DarknetError, DarknetWarning, warn
from darknet_torch.evaluation.report import to_csv
from darknet_torch.inference.detections import Detections
from darknet_torch.safety.text import (
    csv_cell,
    csv_line,
    first_line,
    html_row,
    printable,
    to_json,
)

NASTY = {
    "\udcc6\udcfb\udcb3\udcb5": r"\xc6\xfb\xb3\xb5",  # a Chinese word in GBK
    "\x1b[31mred": r"\x1b[31mred",
    "two\nlines\t": r"two\nlines\t",
    "a\u202egpj.exe": r"a\u202egpj.exe",
    "\x9b2J": r"\x9b2J",
    "\ud800": r"\ud800",
    "汽车 \u3000🚗": "汽车 \u3000🚗",
    "می\u200cشود": "می\u200cشود",
}
ANY = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize("text, shown", NASTY.items())
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(ANY)
def test_printable_is_text_of_one_line_and_stays_so(text: str) -> None:
    shown = printable(text)
    assert shown.encode().decode() == shown
    assert len(shown.splitlines()) <= 1
    assert printable(shown) == shown


@given(ANY, st.booleans())
def test_json_has_the_same_text(text: str, ascii_only: bool) -> None:
    """Of what is text at all: JSON has no bytes."""
    written = to_json({text: [text, 1.5, None]}, ascii_only=ascii_only)
    assert printable(written) == written
    assert not ascii_only or written.isascii()
    (key,) = json.loads(written.encode())
    lone = any("\ud800" <= c <= "\udfff" for c in text)
    assert lone or key == text
    assert json.loads(written) == {key: [key, 1.5, None]}


def test_json_with_bytes_that_are_no_utf8() -> None:
    assert json.loads(to_json(["caf\udce9\n"])) == ["caf\\xe9\n"]
    assert to_json({"a": ["b"]}, indent=1).count("\n") == 4


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1"])
def test_a_spreadsheet_computes_no_name(name: str) -> None:
    cell = csv_cell(name)
    assert cell.startswith(("'", "\\")) and name.strip() in cell
    assert csv_cell(-1.5) == -1.5 and csv_cell("a-b") == "a-b"


def test_rows_keep_their_columns() -> None:
    assert csv_line(("a,b", "=1", 2.5, None)) == '"a,b",\'=1,2.5,\n'
    assert (
        html_row("td", ["<b>", "\x1b", 2]) == "<tr><td>&lt;b&gt;</td><td>\\x1b</td><td>2</td></tr>"
    )


@pytest.mark.parametrize("name", NASTY)
def test_every_form_of_detections_is_text(name: str) -> None:
    detections = Detections(
        torch.tensor([[1.0, 2, 30, 20]]), torch.ones(1), torch.zeros(1).long(), (name,), 40, 30
    )
    shown = NASTY[name]
    assert detections.table().splitlines()[1].startswith(shown)
    assert repr(detections) == f"Detections(1): {shown} 1.00"
    assert json.loads(detections.to_json().encode())["detections"][0]["class_id"] == 0
    root = ElementTree.fromstring(detections.to_voc().encode())
    assert root.findtext("object/name") == shown
    assert detections.draw(Image.new("RGB", (40, 30))).getbbox()
    rows = list(csv.DictReader(StringIO(to_csv([{"class": name, "truths": 3}]))))
    assert rows == [{"class": shown, "truths": "3"}]


@pytest.mark.parametrize("text, shown", NASTY.items())
def test_errors_and_warnings_are_one_line_of_text(text: str, shown: str) -> None:
    assert str(DarknetError(text)) == shown
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn(text)
    assert [(each.category, str(each.message)) for each in caught] == [(DarknetWarning, shown)]


def test_the_first_line_of_a_foreign_error() -> None:
    assert first_line(ValueError("\n  a file\nis damaged")) == "a file"
    assert first_line(ValueError()) == "ValueError"
    assert first_line(ValueError("x" * 10_000)) == "x" * 200 + "..."
