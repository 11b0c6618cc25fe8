"""Detections as text and in the formats of other programs; `Detections` has a method for each."""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from torch import Tensor

from darknet_torch.data.coco_classes import COCO_CATEGORY_IDS, are_coco
from darknet_torch.errors import UsageError
from darknet_torch.safety.text import printable

__all__ = [
    "Detection",
    "to_coco",
    "to_dicts",
    "to_labelme",
    "to_supervision",
    "to_table",
    "to_voc",
    "to_yolo",
]


class Detection(NamedTuple):
    """One detected object: box (left, top, right, bottom) in pixels of the image."""

    box: tuple[float, float, float, float]
    score: float
    class_id: int
    name: str


def to_table(detections: Sequence[Detection]) -> str:
    """Return one line for each object: class, score, corners in whole pixels."""
    names = [printable(d.name) for d in detections]
    width = max(map(len, ["class", *names]))
    lines = [f"{'class':{width}}  score   left    top  right  bottom"]
    for name, d in zip(names, detections, strict=True):
        left, top, right, bottom = (round(v) for v in d.box)
        corners = f"{left:5d}  {top:5d}  {right:5d}  {bottom:6d}"
        lines.append(f"{name:{width}}  {d.score:5.2f}  {corners}")
    return "\n".join(lines)


def to_dicts(detections: Iterable[Detection]) -> list[dict[str, Any]]:
    """Return plain Python values for each object; boxes as xyxy in pixels."""
    return [
        {
            "class": d.name,
            "class_id": d.class_id,
            "score": _short(d.score),
            "box": [_short(v) for v in d.box],
        }
        for d in detections
    ]


def to_coco(
    detections: Iterable[Detection],
    image_id: int,
    category_ids: Sequence[int] | Mapping[int, int] | None,
    names: Sequence[str],
) -> list[dict[str, Any]]:
    """Return rows of COCO's result format: boxes as left, top, width, height in pixels."""
    if category_ids is None and are_coco(names):
        category_ids = COCO_CATEGORY_IDS
    rows: list[dict[str, Any]] = []
    for (left, top, right, bottom), score, class_id, _ in detections:
        box = [_short(v) for v in (left, top, right - left, bottom - top)]
        category = class_id if category_ids is None else _category(class_id, category_ids)
        row = {"image_id": image_id, "category_id": category}
        rows.append({**row, "bbox": box, "score": _short(score)})
    return rows


def to_yolo(detections: Iterable[Detection], width: int, height: int, *, score: bool) -> str:
    """Return Darknet's labels: a line `class x y w h [score]` an object, cxcywh in fractions."""
    lines = []
    for (left, top, right, bottom), value, class_id, _ in detections:
        x, w = (left + right) / 2 / width, (right - left) / width
        y, h = (top + bottom) / 2 / height, (bottom - top) / height
        numbers = (x, y, w, h, value) if score else (x, y, w, h)
        lines.append(" ".join([str(class_id), *(f"{v:.6f}" for v in numbers)]) + "\n")
    return "".join(lines)


def to_voc(detections: Iterable[Detection], width: int, height: int, path: str | None) -> str:
    """Return Pascal VOC's XML: boxes in whole pixels counted from 1, inside the image."""
    root = ElementTree.Element("annotation")
    _add(root, filename=Path(path).name if path else "")
    _add(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
    for d in detections:
        item = ElementTree.SubElement(root, "object")
        _add(item, name=d.name, pose="Unspecified", truncated=0, difficult=0)
        box = ElementTree.SubElement(item, "bndbox")
        tags, limits = ("xmin", "ymin", "xmax", "ymax"), (width, height) * 2
        for tag, value, last in zip(tags, d.box, limits, strict=True):
            _add(box, **{tag: min(max(round(value) + 1, 1), last)})
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def to_labelme(
    detections: Iterable[Detection], width: int, height: int, image: str
) -> dict[str, Any]:
    """Return the content of a LabelMe file: rectangles in pixels, with their scores.

    Args:
        detections: with boxes inside the image.
        width: of the image.
        height: of the image.
        image: its path, from the folder of the LabelMe file.
    """
    shapes: list[dict[str, Any]] = [
        {
            "label": printable(d.name),
            "points": [[_short(v) for v in d.box[:2]], [_short(v) for v in d.box[2:]]],
            "group_id": None,
            "description": "",
            "shape_type": "rectangle",
            "flags": {},
            "score": _short(d.score),
        }
        for d in detections
    ]
    size = {"imageHeight": height, "imageWidth": width}
    head = {"version": "5.5.0", "flags": {}, "shapes": shapes}
    return {**head, "imagePath": image, "imageData": None, **size}


def to_supervision(xyxy: Tensor, score: Tensor, class_id: Tensor, names: Sequence[str]) -> Any:
    """Return a `supervision.Detections`; UsageError where the package is not installed.

    names: the class name of each detection.
    """
    try:
        supervision = import_module("supervision")
    except ImportError as error:
        raise UsageError("to_supervision: pip install supervision") from error
    return supervision.Detections(
        xyxy=xyxy.numpy(force=True),
        confidence=score.numpy(force=True),
        class_id=class_id.numpy(force=True),
        data={"class_name": np.array(names, dtype=str)},
    )


def _short(value: float) -> float:
    """Return a float32 with the digits that it has: 0.84 instead of 0.8399999737739563."""
    return float(f"{value:.7g}")


def _category(class_id: int, category_ids: Sequence[int] | Mapping[int, int]) -> int:
    try:
        return category_ids[class_id]
    except LookupError as error:
        raise UsageError(f"category_ids: nothing for class {class_id}") from error


def _add(parent: ElementTree.Element, **children: object) -> None:
    for tag, value in children.items():
        ElementTree.SubElement(parent, tag).text = printable(str(value))
