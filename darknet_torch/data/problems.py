"""What can be wrong in a data set, and the boxes of one picture, checked.

A kind of problem is one of KINDS. Nothing is changed to make it right: a row is kept as it stands,
or left out.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from darknet_torch.data.dataset import Problem, Truth
from darknet_torch.data.messages import _cut

__all__ = ["KINDS", "Box", "Report", "check_boxes"]

KINDS = {
    "missing picture": "it is listed and not there; no sample",
    "unreadable picture": "not a picture, damaged, or too many pixels; no sample",
    "duplicate picture": "listed twice; kept, as Darknet counts it twice",
    "size disagrees": "the labels tell another size than the picture has; the picture is right",
    "missing label file": "no labels for a picture; kept, with nothing marked",
    "unreadable label file": "no text, no XML, or too large; kept, with nothing marked",
    "negative picture": "nothing is marked on purpose; kept, and no fault",
    "column count": "a row is not `class x y w h`; the row is left out",
    "not a number": "a word, NaN or infinity where a number belongs; the row is left out",
    "class out of range": "a class that has no name; the row is left out",
    "unknown class": "a name that is not among the names; the row is left out",
    "other spelling": "COCO: a category that is taken for a class of another name; no fault",
    "zero area": "no width or no height; the row is left out",
    "outside the picture": "a box reaches beyond by half a pixel or more; kept as it stands",
    "duplicate row": "the same class and box again; kept, as Darknet counts it twice",
    "malformed entry": "an entry of a JSON or XML file is not what it should be; left out",
    "no class": "classification: no name occurs in the path; kept without a class",
    "several classes": "classification: several names occur in the path; kept with the first",
}
"""Kind -> what it means and what becomes of it."""

_FARTHEST = 1e9


class Box(NamedTuple):
    """One marked object as a file has it; corners in pixels of the picture."""

    where: str
    class_id: int
    xyxy: tuple[float, float, float, float]
    difficult: bool = False
    truncated: bool = False
    crowd: bool = False
    area: float | None = None


class Report(list[Problem]):
    """Problems, in the order in which they were found."""

    def add(self, kind: str, where: str, what: str) -> None:
        """Note a problem; what files hold is made printable, and not longer than a screen."""
        self.append(Problem(kind, _cut(where), _cut(what)))


def check_boxes(boxes: Iterable[Box], width: int, height: int, report: Report) -> Truth:
    """The boxes of a picture without those of no area; what is doubtful is reported."""
    kept = []
    seen: dict[tuple[object, ...], str] = {}
    for box in boxes:
        left, top, right, bottom = box.xyxy
        if not all(-_FARTHEST <= corner <= _FARTHEST for corner in box.xyxy):
            report.add("not a number", box.where, "a corner more than 1e9 pixels away")
            continue
        if right <= left or bottom <= top:
            size = f"{_short(right - left)} x {_short(bottom - top)} pixels"
            report.add("zero area", box.where, f"zero area: {size}")
            continue
        _check_inside(box, width, height, report)
        before = seen.setdefault((box.class_id, box.xyxy), box.where)
        if before is not box.where:
            report.add("duplicate row", box.where, f"the same class and box as {before}")
        kept.append(box)
    return _truth(kept)


def _check_inside(box: Box, width: int, height: int, report: Report) -> None:
    """Rounding is no fault: half a pixel, or a millionth of a large picture."""
    left, top, right, bottom = box.xyxy
    beyond = {
        "left": (-left, width),
        "above": (-top, height),
        "right": (right - width, width),
        "below": (bottom - height, height),
    }
    worst = [
        f"{_short(distance)} pixels {side}"
        for side, (distance, size) in beyond.items()
        if distance >= max(0.5, 1e-6 * size)
    ]
    if worst:
        what = f"reaches outside the picture of {width}x{height}: {', '.join(worst)}"
        report.add("outside the picture", box.where, what)


def _truth(boxes: list[Box]) -> Truth:
    if not boxes:
        return Truth.empty()
    corners = np.array([box.xyxy for box in boxes], np.float64)
    truth = Truth(
        xyxy=corners,
        class_id=np.array([box.class_id for box in boxes], np.int64),
        difficult=np.array([box.difficult for box in boxes]),
        truncated=np.array([box.truncated for box in boxes]),
        crowd=np.array([box.crowd for box in boxes]),
    )
    for index, box in enumerate(boxes):
        if box.area is not None:
            truth.area[index] = box.area
    return truth


def _short(value: float) -> str:
    return f"{value:.4g}"
