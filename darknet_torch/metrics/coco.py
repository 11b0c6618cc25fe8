"""COCO's twelve figures and the AP of each class, computed by faster-coco-eval (extra `eval`)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from darknet_torch.data.dataset import Array
from darknet_torch.extras import require
from darknet_torch.metrics.tables import DetectionTable, GroundTruthTable, check_classes

__all__ = ["FIGURES", "CocoFigures", "evaluate", "installed"]

FIGURES = (
    *("AP", "AP50", "AP75", "APsmall", "APmedium", "APlarge"),
    *("AR1", "AR10", "AR100", "ARsmall", "ARmedium", "ARlarge"),
)
"""AP: mean over IoU .5 to .95; at .5; at .75; by area. AR: recall with so many detections."""


@dataclass(frozen=True, eq=False)
class CocoFigures:
    """COCO's figures.

    Attributes:
        figures: by name of `FIGURES`, 0..1; NaN where there are no such ground truths (COCO's own
            tool has -1).
        ap: (C,) AP of each class in 0..1, NaN for classes without ground truths.
        ap50: (C,) the same at IoU .5.
    """

    figures: dict[str, float]
    ap: Array
    ap50: Array


def installed() -> bool:
    """Return whether faster-coco-eval is installed."""
    return find_spec("faster_coco_eval") is not None


def evaluate(
    detections: DetectionTable,
    ground_truth: GroundTruthTable,
    classes: int,
    sizes: Sequence[tuple[int, int]],
    max_detections: Sequence[int] = (1, 10, 100),
) -> CocoFigures:
    """Compute the figures.

    Args:
        detections: of all images.
        ground_truth: of the same images.
        classes: number of classes.
        sizes: (width, height) of every image in pixels.
        max_detections: of an image and a class that count, for AR1, AR10 and all other figures.

    Raises:
        UsageError: faster-coco-eval is not installed, or a class index is not below `classes`.
    """
    check_classes(classes, detections, ground_truth)
    package = require("faster_coco_eval", "eval")
    truth = _index(package, _ground_truth(ground_truth, classes, sizes))
    results = _index(package, {**truth.dataset, "annotations": _results(detections)})
    run = package.COCOeval_faster(truth, results, "bbox", print_function=_print_nothing)
    run.params.maxDets = list(max_detections)
    run.evaluate()
    run.accumulate()
    run.summarize()
    precision = run.eval["precision"]  # IoU, recall, class, area, max_detections
    return CocoFigures(
        {
            name: math.nan if value < 0 else float(value)
            for name, value in zip(FIGURES, run.stats, strict=False)
        },
        _by_class(precision[:, :, :, 0, -1], classes),
        _by_class(precision[:1, :, :, 0, -1], classes),
    )


def _ground_truth(
    table: GroundTruthTable, classes: int, sizes: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    """COCO's annotation file; its numbers begin with 1, as 0 means none to faster-coco-eval."""
    rows = _rows(table)
    for row, area, crowd in zip(rows, table.area.tolist(), table.crowd.tolist(), strict=True):
        row |= {"area": area, "iscrowd": int(crowd)}
    return {
        "images": [{"id": i + 1, "width": w, "height": h} for i, (w, h) in enumerate(sizes)],
        "categories": [{"id": i + 1, "name": str(i)} for i in range(classes)],
        "annotations": rows,
    }


def _results(detections: DetectionTable) -> list[dict[str, Any]]:
    rows = _rows(detections)
    areas = ((row["bbox"][2] * row["bbox"][3]) for row in rows)
    for row, area, score in zip(rows, areas, detections.score.tolist(), strict=True):
        row |= {"area": area, "iscrowd": 0, "score": score}
    return rows


def _rows(table: DetectionTable | GroundTruthTable) -> list[dict[str, Any]]:
    """What rows of both tables have in common; boxes as left, top, width, height."""
    boxes = np.column_stack((table.xyxy[:, :2], table.xyxy[:, 2:] - table.xyxy[:, :2]))
    columns = ((table.image + 1), (table.class_id + 1), boxes)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [
        {"id": number, "image_id": image, "category_id": category, "bbox": box}
        for number, (image, category, box) in enumerate(rows, start=1)
    ]


def _index(package: Any, content: dict[str, Any]) -> Any:
    return package.COCO(content, print_function=_print_nothing)


def _by_class(precision: Array, classes: int) -> Array:
    """Mean over IoUs and recalls, (C,); NaN for classes without ground truths, which hold -1."""
    known = precision > -1
    total = np.where(known, precision, 0).sum(axis=(0, 1))
    count = known.sum(axis=(0, 1))
    mean: Array = np.divide(total, count, out=np.full(classes, np.nan), where=count > 0)
    return mean


def _print_nothing(*_: object) -> None:
    pass
