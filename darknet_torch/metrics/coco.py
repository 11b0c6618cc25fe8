"""COCO's twelve figures and the AP of each class, by COCO's own rules through faster-coco-eval."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from darknet_torch.extras import require
from darknet_torch.metrics.tables import Found, Marked, check_classes

__all__ = ["FIGURES", "Coco", "evaluate", "installed"]

Array = npt.NDArray[Any]
FIGURES = (
    *("AP", "AP50", "AP75", "APsmall", "APmedium", "APlarge"),
    *("AR1", "AR10", "AR100", "ARsmall", "ARmedium", "ARlarge"),
)
"""Mean over overlaps .5 to .95; at .5; at .75; by area; recall with so many detections."""


@dataclass(frozen=True, eq=False)
class Coco:
    """What COCO's program says.

    figures: by name of `FIGURES`, -1 where there is nothing to measure; ap, ap50: (C,) in 0..1,
    NaN for classes without truths.
    """

    figures: dict[str, float]
    ap: Array
    ap50: Array


def installed() -> bool:
    """Say whether COCO's program is there."""
    return find_spec("faster_coco_eval") is not None


def evaluate(
    found: Found,
    marked: Marked,
    classes: int,
    sizes: Sequence[tuple[int, int]],
    max_detections: Sequence[int] = (1, 10, 100),
) -> Coco:
    """Compute the figures of detections (at most 100 of a picture and class count).

    sizes: width and height of every picture, in pixels. Needs the extra `eval`.
    """
    check_classes(classes, found, marked)
    package = require("faster_coco_eval", "eval")
    truth = _index(package, _truth(marked, classes, sizes))
    rows = _index(package, {**truth.dataset, "annotations": _results(found)})
    run = package.COCOeval_faster(truth, rows, "bbox", print_function=_silent)
    run.params.maxDets = list(max_detections)
    run.evaluate()
    run.accumulate()
    run.summarize()
    precision = run.eval["precision"]  # overlap, recall, class, area, most detections
    return Coco(
        dict(zip(FIGURES, map(float, run.stats), strict=False)),
        _by_class(precision[:, :, :, 0, -1], classes),
        _by_class(precision[:1, :, :, 0, -1], classes),
    )


def _truth(marked: Marked, classes: int, sizes: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """COCO's annotations; its numbers begin with 1, as 0 means none to its program."""
    rows = _rows(marked)
    for row, area, crowd in zip(rows, marked.area.tolist(), marked.crowd.tolist(), strict=True):
        row |= {"area": area, "iscrowd": int(crowd)}
    return {
        "images": [{"id": i + 1, "width": w, "height": h} for i, (w, h) in enumerate(sizes)],
        "categories": [{"id": i + 1, "name": str(i)} for i in range(classes)],
        "annotations": rows,
    }


def _results(found: Found) -> list[dict[str, Any]]:
    rows = _rows(found)
    areas = ((row["bbox"][2] * row["bbox"][3]) for row in rows)
    for row, area, score in zip(rows, areas, found.score.tolist(), strict=True):
        row |= {"area": area, "iscrowd": 0, "score": score}
    return rows


def _rows(table: Found | Marked) -> list[dict[str, Any]]:
    """What rows of both tables have in common; boxes as left, top, width, height."""
    boxes = np.column_stack((table.xyxy[:, :2], table.xyxy[:, 2:] - table.xyxy[:, :2]))
    columns = ((table.picture + 1), (table.class_id + 1), boxes)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [
        {"id": number, "image_id": picture, "category_id": category, "bbox": box}
        for number, (picture, category, box) in enumerate(rows, start=1)
    ]


def _index(package: Any, content: dict[str, Any]) -> Any:
    return package.COCO(content, print_function=_silent)


def _by_class(precision: Array, classes: int) -> Array:
    """Mean over overlaps and recalls, (C,); NaN for classes without truths, which hold -1."""
    known = precision > -1
    total = np.where(known, precision, 0).sum(axis=(0, 1))
    count = known.sum(axis=(0, 1))
    mean: Array = np.divide(total, count, out=np.full(classes, np.nan), where=count > 0)
    return mean


def _silent(*_: object) -> None:
    """Print nothing."""
