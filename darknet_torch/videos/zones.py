"""Lines and zones in a YAML file, in which objects are counted."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from darknet_torch.data.messages import shown
from darknet_torch.data.safe_yaml import load_yaml
from darknet_torch.errors import DataError

__all__ = ["ANCHORS", "ZoneShape", "read_zones"]

Point = tuple[float, float]
"""x to the right and y down: in pixels, or in fractions where all are at most 1."""
ANCHORS = ("center", "bottom_center", "top_center", "center_left", "center_right")
"""The point of a box that counts."""
MOST_SHAPES, MOST_POINTS = 100, 200
_LEAST = {"lines": 2, "zones": 3}
_KEYS = {"points", "classes", "anchor"}


@dataclass(frozen=True)
class ZoneShape:
    """A line or zone of a file.

    Args:
        name: its name.
        points: two of a line, at least three of a zone.
        is_line: whether it is a line.
        classes: names of the classes that are counted; None counts all.
        anchor: the point of a box that counts, of ANCHORS.
    """

    name: str
    points: tuple[Point, ...]
    is_line: bool
    classes: frozenset[str] | None = None
    anchor: str = "center"

    def in_pixels(self, width: int, height: int) -> list[Point]:
        """Return the points in pixels of an image.

        Raises:
            DataError: one is outside of it.
        """
        fractions = all(0 <= v <= 1 for point in self.points for v in point)
        scale = (width - 1, height - 1) if fractions else (1, 1)
        points = [(x * scale[0], y * scale[1]) for x, y in self.points]
        for x, y in points:
            if not (0 <= x <= width and 0 <= y <= height):
                raise DataError(f"{self.name}: ({x:g}, {y:g}) is outside of {width}x{height}")
        return points


def read_zones(path: str | PathLike[str]) -> list[ZoneShape]:
    """Read the lines and zones of a file.

        lines:
          gate: [[0.5, 0], [0.5, 1]]
        zones:
          crossing: {points: [[0, 300], [639, 300], [639, 479], [0, 479]], classes: [person]}

    Args:
        path: of the YAML file.

    Raises:
        DataError: it cannot be read, or has other things in it.
    """
    content = load_yaml(Path(path))
    try:
        if unknown := set(content) - set(_LEAST):
            raise DataError(f"{shown(str(min(unknown, key=str)))}: must be lines or zones")
        shapes = [_shape(kind, *each) for kind in _LEAST for each in _items(content, kind)]
        if not 0 < len(shapes) <= MOST_SHAPES:
            raise DataError(f"{len(shapes)} lines and zones; 1 to {MOST_SHAPES} are expected")
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return shapes


def _items(content: Mapping[str, Any], kind: str) -> list[tuple[str, Any]]:
    part = content.get(kind) or {}
    if not isinstance(part, dict):
        raise DataError(f"{kind}: `name: [[x, y], ...]` lines expected")
    return [(str(name), value) for name, value in part.items()]


def _shape(kind: str, name: str, value: Any) -> ZoneShape:
    settings = value if isinstance(value, dict) else {"points": value}
    where = f"{kind}: {shown(name)}"
    if unknown := {str(key) for key in settings} - _KEYS:
        raise DataError(f"{where}: {shown(min(unknown))}: must be points, classes or anchor")
    points = settings.get("points")
    least, most = _LEAST[kind], 2 if kind == "lines" else MOST_POINTS
    if not isinstance(points, list) or not least <= len(points) <= most:
        what = "two points" if kind == "lines" else f"{least} to {most} points"
        raise DataError(f"{where}: {what} expected, as [[x, y], ...]")
    pairs = tuple(_point(each, where) for each in points)
    if len(set(pairs)) < least:
        raise DataError(f"{where}: {least} different points expected")
    anchor = settings.get("anchor", "center")
    if anchor not in ANCHORS:
        raise DataError(f"{where}: anchor: must be one of {', '.join(ANCHORS)}")
    return ZoneShape(name, pairs, kind == "lines", _classes(settings.get("classes"), where), anchor)


def _point(value: Any, where: str) -> Point:
    if isinstance(value, list) and len(value) == 2:
        x, y = value
        if all(type(each) in (int, float) and 0 <= each < 1e6 for each in (x, y)):
            return float(x), float(y)
    raise DataError(f"{where}: {shown(str(value))}: a point [x, y] expected, from 0 on")


def _classes(value: Any, where: str) -> frozenset[str] | None:
    if value is None:
        return None
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return frozenset(value)
    raise DataError(f"{where}: classes: a list of names expected")
