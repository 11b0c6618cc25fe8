"""An evaluation as files in a folder.

evaluation.json   every figure              classes.csv      a row for each class
confusion.csv     the confusion matrix      detections.json  COCO's result format
*.png             precision over recall, F1 over the threshold, confusion matrix, worst images
"""

import heapq
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from darknet_torch.data import Sample
from darknet_torch.data.coco_classes import COCO_CATEGORY_IDS, are_coco
from darknet_torch.errors import UsageError
from darknet_torch.evaluation import plots
from darknet_torch.evaluation.results import ClassificationResult, DetectionResult
from darknet_torch.evaluation.worst_images import write_worst_images
from darknet_torch.files import write_atomically
from darknet_torch.inference.detections import Detections
from darknet_torch.metrics.tables import DetectionTable
from darknet_torch.safety import text

__all__ = ["coco_results", "write"]

WORST = 12


def write(
    result: DetectionResult | ClassificationResult, folder: Path, *, plots: bool = False
) -> list[Path]:
    """Write the files and return their paths.

    Args:
        result: of `evaluate`.
        folder: made if it does not exist.
        plots: write the PNGs, too (extra `plot`).

    Raises:
        UsageError: the folder cannot be made, or matplotlib is not installed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}") from error
    written = []
    for name, content in _texts(result):
        write_atomically(folder / name, content)
        written.append(folder / name)
    if plots and isinstance(result, DetectionResult):
        written += _plots(result, folder)
    return written


def _texts(result: DetectionResult | ClassificationResult) -> Iterator[tuple[str, str]]:
    yield "evaluation.json", text.to_json(result.to_dict(), indent=1) + "\n"
    yield "classes.csv", result.to_csv()
    if isinstance(result, DetectionResult):
        yield "confusion.csv", _confusion(result)
        yield "detections.json", json.dumps(coco_results(result)) + "\n"


def _confusion(result: DetectionResult) -> str:
    names = (*result.names, "background")
    rows = zip(names, result.confusion.tolist(), strict=True)
    lines = [("found \\ marked", *names), *((name, *row) for name, row in rows)]
    return "".join(map(text.csv_line, lines))


def coco_results(result: DetectionResult) -> list[dict[str, Any]]:
    """Return the detections in COCO's result format: boxes as left, top, width, height in pixels.

    Category ids are those of the data set, else COCO's if the classes are COCO's, else the class
    indices.
    """
    category_ids = result.dataset.category_ids
    if category_ids is None:
        count = len(result.names)
        category_ids = COCO_CATEGORY_IDS if are_coco(result.names) else tuple(range(count))
    ids = np.array([sample.image_id for sample in result.dataset.samples])
    table = result.detections
    boxes = np.column_stack((table.xyxy[:, :2], table.xyxy[:, 2:] - table.xyxy[:, :2])).round(4)
    columns = (ids[table.image], np.array(category_ids)[table.class_id], boxes, table.score)
    return [
        {"image_id": image, "category_id": category, "bbox": box, "score": float(f"{score:.7g}")}
        for image, category, box, score in zip(*(c.tolist() for c in columns), strict=True)
    ]


def _plots(result: DetectionResult, folder: Path) -> list[Path]:
    matched = result.darknet
    curves, ap = matched.curves(), matched.average_precisions(result.points)
    classes = np.flatnonzero(matched.ground_truths).tolist()
    names = result.names
    precision = {names[n]: (curves[n].recall, curves[n].precision, float(ap[n])) for n in classes}
    f1 = {names[n]: (curves[n].score, curves[n].f1) for n in classes}
    paths = [folder / f"{name}.png" for name in ("confusion", "precision_recall", "f1")]
    plots.confusion(result.confusion, names, paths[0])
    if classes:  # without any ground truth there is no curve
        plots.precision_recall(precision, paths[1])
        plots.f1(f1, paths[2])
    return [*(paths if classes else paths[:1]), *write_worst_images(_worst(result), folder)]


def _worst(result: DetectionResult) -> Iterator[tuple[Sample, Detections, int]]:
    """Yield the images with the most errors, with the detections above the threshold."""
    errors = result.errors()
    wrong = [number for number in range(len(errors)) if errors[number]]
    for number in heapq.nlargest(WORST, wrong, key=lambda n: errors[n]):
        sample = result.dataset.samples[number]
        table = result.detections
        shown = table[(table.image == number) & (table.score > result.confidence)]
        yield sample, _detections(shown, sample, result.names), int(errors[number])


def _detections(table: DetectionTable, sample: Sample, names: tuple[str, ...]) -> Detections:
    return Detections(
        xyxy=torch.from_numpy(table.xyxy),
        score=torch.from_numpy(table.score),
        class_id=torch.from_numpy(table.class_id),
        names=names,
        width=sample.width,
        height=sample.height,
        path=str(sample.path),
    )
