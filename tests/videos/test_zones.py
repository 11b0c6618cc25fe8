"""The YAML of lines and zones."""

from pathlib import Path

import pytest

from darknet_torch.errors import DataError
from darknet_torch.videos.zones import ZoneShape, read_zones

GOOD = """
lines:
  gate: [[0.5, 0], [0.5, 1]]
zones:
  crossing: {points: [[0, 30], [100, 30], [100, 60]], classes: [ant], anchor: bottom_center}
"""


def read(text: str, tmp_path: Path) -> list[ZoneShape]:
    path = tmp_path / "zones.yaml"
    path.write_text(text)
    return read_zones(path)


def test_lines_and_zones(tmp_path: Path) -> None:
    gate, crossing = read(GOOD, tmp_path)
    assert gate == ZoneShape("gate", ((0.5, 0.0), (0.5, 1.0)), is_line=True)
    assert crossing == ZoneShape(
        "crossing",
        ((0.0, 30.0), (100.0, 30.0), (100.0, 60.0)),
        False,
        frozenset({"ant"}),
        "bottom_center",
    )
    assert gate.in_pixels(201, 101) == [(100.0, 0.0), (100.0, 100.0)]
    assert crossing.in_pixels(200, 100) == list(crossing.points)
    with pytest.raises(DataError, match=r"crossing: \(100, 30\) is outside of 90x100"):
        crossing.in_pixels(90, 100)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "lines expected"),
        ("gates: {}", "gates: must be lines or zones"),
        ("lines: {}", "0 lines and zones; 1 to 100"),
        ("lines: [1]", "lines: `name:"),
        ("lines: {a: [[0, 0]]}", "lines: a: two points expected"),
        ("lines: {a: [[0, 0], [1, 1], [2, 2]]}", "lines: a: two points expected"),
        ("lines: {a: [[5, 5], [5, 5]]}", "lines: a: 2 different points expected"),
        ("zones: {a: [[0, 0], [1, 1]]}", "zones: a: 3 to 200 points expected"),
        ("lines: {a: 7}", "two points expected"),
        ("lines: {a: [[0, x], [1, 1]]}", "a point"),
        ("lines: {a: [[0, -1], [1, 1]]}", "a point"),
        ("lines: {a: [[0, .nan], [1, 1]]}", "a point"),
        ("lines: {a: [[0, true], [1, 1]]}", "a point"),
        ("lines: {a: {points: [[0, 0], [1, 1]], color: red}}", "color: must be points, classes"),
        ("lines: {a: {points: [[0, 0], [1, 1]], classes: ant}}", "classes: a list of names"),
        ("lines: {a: {points: [[0, 0], [1, 1]], anchor: top}}", "anchor: must be one of center"),
    ],
)
def test_what_is_wrong(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(text, tmp_path)
    assert "zones.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)
