"""An evaluation as files: figures, detections, pictures.

evaluation.json   every figure          classes.csv      a row for each class
confusion.csv     what is taken for what    detections.json  COCO's result format
*.png             precision over recall, F1 over the threshold, confusion, the worst pictures
"""

import csv
import heapq
import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from darknet_torch.data import Sample
from darknet_torch.data.coco_classes import COCO_CATEGORY_IDS, are_coco
from darknet_torch.errors import UsageError
from darknet_torch.evaluation.results import ClassificationResult, DetectionResult
from darknet_torch.files import write_atomically
from darknet_torch.inference.detections import Detections
from darknet_torch.metrics.tables import DetectionTable

__all__ = ["coco_results", "write"]

WORST = 12


def write(
    result: DetectionResult | ClassificationResult, folder: Path, *, plots: bool = False
) -> list[Path]:
    """Write the files and return their paths; plots: the pictures too (extra `plot`)."""
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
    yield "evaluation.json", json.dumps(result.to_dict(), indent=1, ensure_ascii=False) + "\n"
    yield "classes.csv", result.to_csv()
    if isinstance(result, DetectionResult):
        yield "confusion.csv", _confusion(result)
        yield "detections.json", json.dumps(coco_results(result)) + "\n"


def _confusion(result: DetectionResult) -> str:
    content = StringIO()
    writer = csv.writer(content, lineterminator="\n")
    names = (*result.names, "background")
    writer.writerow(("found \\ marked", *names))
    writer.writerows(
        (name, *row) for name, row in zip(names, result.confusion.tolist(), strict=True)
    )
    return content.getvalue()


def coco_results(result: DetectionResult) -> list[dict[str, Any]]:
    """The detections in COCO's result format: boxes as left, top, width, height in pixels.

    Categories have the data set's own numbers, else COCO's if the classes are COCO's, else those
    of the classes.
    """
    numbers = result.dataset.category_ids
    if numbers is None:
        count = len(result.names)
        numbers = COCO_CATEGORY_IDS if are_coco(result.names) else tuple(range(count))
    ids = np.array([sample.image_id for sample in result.dataset.samples])
    found = result.found
    boxes = np.column_stack((found.xyxy[:, :2], found.xyxy[:, 2:] - found.xyxy[:, :2])).round(4)
    columns = (ids[found.image], np.array(numbers)[found.class_id], boxes, found.score)
    return [
        {"image_id": image, "category_id": category, "bbox": box, "score": float(f"{score:.7g}")}
        for image, category, box, score in zip(*(c.tolist() for c in columns), strict=True)
    ]


def _plots(result: DetectionResult, folder: Path) -> list[Path]:
    from darknet_torch.evaluation import plots

    judged, points = result.darknet, result.points
    curves, ap = judged.curves(), judged.average_precisions(points)
    some = [n for n, truths in enumerate(judged.ground_truths) if truths]
    names = result.names
    precision = {names[n]: (curves[n].recall, curves[n].precision, float(ap[n])) for n in some}
    f1 = {names[n]: (curves[n].score, curves[n].f1) for n in some}
    paths = [folder / f"{name}.png" for name in ("confusion", "precision_recall", "f1")]
    plots.confusion(result.confusion, names, paths[0])
    if some:  # without any truth there is no curve
        plots.precision_recall(precision, paths[1])
        plots.f1(f1, paths[2])
    return [*(paths if some else paths[:1]), *plots.worst_pictures(_worst(result), folder)]


def _worst(result: DetectionResult) -> Iterator[tuple[Sample, Detections, int]]:
    """The pictures with the most errors, with the detections above the threshold."""
    errors = result.errors()
    wrong = [number for number in range(len(errors)) if errors[number]]
    for number in heapq.nlargest(WORST, wrong, key=lambda n: errors[n]):
        sample = result.dataset.samples[number]
        here = result.found.image == number
        sure = result.found[here & (result.found.score > result.confidence)]
        yield sample, _detections(sure, sample, result.names), int(errors[number])


def _detections(found: DetectionTable, sample: Sample, names: tuple[str, ...]) -> Detections:
    return Detections(
        xyxy=torch.from_numpy(found.xyxy),
        score=torch.from_numpy(found.score),
        class_id=torch.from_numpy(found.class_id),
        names=names,
        width=sample.width,
        height=sample.height,
        path=str(sample.path),
    )
