"""What can be wrong in a data set, and the checks on the boxes of one image.

Every problem has one of the KINDS. Nothing is corrected: a row is kept as it is, or left out.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from darknet_torch.data.dataset import GroundTruth, Problem
from darknet_torch.data.messages import shorten

__all__ = ["KINDS", "AnnotatedBox", "ProblemList", "check_boxes"]

KINDS = {
    "missing picture": "an image that is listed does not exist; no sample",
    "unreadable picture": "not an image, damaged, or too many pixels; no sample",
    "duplicate picture": "an image is listed twice; kept, as Darknet counts it twice",
    "size disagrees": "the annotation has another size than the image; the image's counts",
    "missing label file": "an image without annotation; kept, without objects",
    "unreadable label file": "not text, not XML, or too large; kept, without objects",
    "negative picture": "an annotation without objects; kept, and no fault",
    "column count": "a row is not `class x y w h`; the row is left out",
    "not a number": "a word, NaN or infinity where a number belongs; the row is left out",
    "class out of range": "a class index without a name; the row is left out",
    "unknown class": "a name that is not among the names; the row is left out",
    "other spelling": "COCO: a category that is taken for a class of another name; no fault",
    "heading": "COCO: a category without boxes that others have as their supercategory; no class",
    "zero area": "no width or no height; the row is left out",
    "outside the picture": "a box reaches half a pixel or more beyond the image; kept as it is",
    "duplicate row": "the same class and box again; kept, as Darknet counts it twice",
    "malformed entry": "an entry of a JSON or XML file is not what it should be; left out",
    "bad outline": "a mask that cannot be read; COCO's box is kept, Darknet's row is left out",
    "no class": "classification: no name occurs in the path; kept without a class",
    "several classes": "classification: several names occur in the path; kept with the first",
}
"""Kind -> what it means and what becomes of the image or row."""

_FARTHEST = 1e9
_FAR = 10


class AnnotatedBox(NamedTuple):
    """One object as a file has it.

    where: `file:line`; xyxy: in pixels of the image; area: in pixels, None for that of the box;
    class_only: whether it is the class of an image without a box; outline: its `Outline`, if known.
    """

    where: str
    class_id: int
    xyxy: tuple[float, float, float, float]
    difficult: bool = False
    truncated: bool = False
    crowd: bool = False
    area: float | None = None
    class_only: bool = False
    outline: Any = None


class ProblemList(list[Problem]):
    """Problems in the order in which they were found."""

    def add(self, kind: str, where: str, what: str) -> None:
        """Append a problem; text from files is made printable and short."""
        self.append(Problem(kind, shorten(where), shorten(what)))


def check_boxes(
    boxes: Iterable[AnnotatedBox], width: int, height: int, problems: ProblemList
) -> GroundTruth:
    """Return the ground truth of an image, without boxes of no area.

    Args:
        boxes: of the image.
        width: of the image in pixels.
        height: of the image in pixels.
        problems: what is wrong with the boxes is appended here.
    """
    kept = []
    seen: dict[tuple[object, ...], str] = {}
    for box in boxes:
        left, top, right, bottom = box.xyxy
        if not all(-_FARTHEST <= corner <= _FARTHEST for corner in box.xyxy):
            problems.add("not a number", box.where, "a corner more than 1e9 pixels away")
            continue
        if right <= left or bottom <= top:
            size = f"{_short(right - left)} x {_short(bottom - top)} pixels"
            problems.add("zero area", box.where, f"zero area: {size}")
            continue
        _check_inside(box, width, height, problems)
        before = seen.setdefault((box.class_id, box.xyxy), box.where)
        if before is not box.where:
            problems.add("duplicate row", box.where, f"the same class and box as {before}")
        kept.append(box)
    return _ground_truth(kept)


def _check_inside(box: AnnotatedBox, width: int, height: int, problems: ProblemList) -> None:
    """Rounding is no fault: half a pixel, or a millionth of a large image."""
    left, top, right, bottom = box.xyxy
    beyond = {
        "left": (-left, width),
        "above": (-top, height),
        "right": (right - width, width),
        "below": (bottom - height, height),
    }
    sides = [
        f"{_short(distance)} pixels {side}"
        for side, (distance, size) in beyond.items()
        if distance >= max(0.5, 1e-6 * size)
    ]
    if sides:
        what = f"reaches outside the image of {width}x{height}: {', '.join(sides)}"
        if any(distance > _FAR * size for distance, size in beyond.values()):
            what += "; are its numbers pixels, in place of fractions of the image?"
        problems.add("outside the picture", box.where, what)


def _ground_truth(boxes: list[AnnotatedBox]) -> GroundTruth:
    if not boxes:
        return GroundTruth.empty()
    corners = np.array([box.xyxy for box in boxes], np.float64)
    outlines = np.full(len(boxes), None)
    outlines[:] = [box.outline for box in boxes]
    ground_truth = GroundTruth(
        xyxy=corners,
        class_id=np.array([box.class_id for box in boxes], np.int64),
        difficult=np.array([box.difficult for box in boxes]),
        truncated=np.array([box.truncated for box in boxes]),
        crowd=np.array([box.crowd for box in boxes]),
        outlines=outlines,
    )
    for index, box in enumerate(boxes):
        if box.area is not None:
            ground_truth.area[index] = box.area
    return ground_truth


def _short(value: float) -> str:
    return f"{value:.4g}"
