"""Random ground truths and detections of many images, and Darknet's recorded ones, as tables."""

import json
from pathlib import Path

import numpy as np
from keys import SHARED

from darknet_torch.metrics.tables import DetectionTable, GroundTruthTable, areas

MAP_KEY = SHARED / "oracle" / "train" / "map_eval.json"
CARTUCHO = SHARED / "datasets" / "cartucho-map" / "input"
SIDE = 400


def random_tables(
    seed: int,
    images: int,
    classes: int,
    most: int = 8,
    *,
    ties: bool = True,
) -> tuple[DetectionTable, GroundTruthTable]:
    """Ground truths, and detections near some of them, with all that can be odd.

    Images without ground truths or detections, classes that occur nowhere, equal scores (with
    `ties`), difficult and crowd rows, ground truths that occur twice.
    """
    rng = np.random.default_rng(seed)
    used = rng.permutation(classes)[: max(1, classes * 3 // 4)]
    counts = rng.integers(0, most + 1, images) * (rng.random(images) > 0.1)
    image = np.repeat(np.arange(images), counts)
    total = len(image)
    low = rng.random((total, 2)) * SIDE * 0.7
    size = SIDE * (0.02 + 0.5 * rng.random((total, 2)) ** 2)
    xyxy = np.hstack((low, low + size))
    class_id = rng.choice(used, total)
    xyxy[1::17] = xyxy[0::17][: len(xyxy[1::17])]
    crowd = rng.random(total) < 0.05
    hard = rng.random(total) < 0.1
    ground_truth = GroundTruthTable(image, class_id, xyxy, hard, crowd, areas(xyxy) * 0.8)
    return _detections(rng, ground_truth, images, used, ties), ground_truth


def _detections(
    rng: np.random.Generator,
    ground_truth: GroundTruthTable,
    images: int,
    used: np.ndarray,
    ties: bool,
) -> DetectionTable:
    copies = np.repeat(np.arange(len(ground_truth)), rng.integers(0, 4, len(ground_truth)))
    shake = rng.normal(0, 1, (len(copies), 4)) * SIDE * 0.015
    near = ground_truth.xyxy[copies] + shake
    near = np.hstack((near[:, :2], np.maximum(near[:, 2:], near[:, :2] + 2)))
    wrong = len(copies) // 2
    low = rng.random((wrong, 2)) * SIDE * 0.8
    far = np.hstack((low, low + 4 + 100 * rng.random((wrong, 2))))
    class_id = np.where(
        rng.random(len(copies)) < 0.9, ground_truth.class_id[copies], rng.choice(used, len(copies))
    )
    columns = (
        np.concatenate((ground_truth.image[copies], rng.integers(0, images, wrong))),
        np.concatenate((class_id, rng.choice(used, wrong))),
        rng.random(len(copies) + wrong),
        np.concatenate((near, far)),
    )
    detections = DetectionTable(*columns)
    score = detections.score.round(1) if ties else detections.score
    order = np.argsort(detections.image, kind="stable")
    return DetectionTable(detections.image, detections.class_id, score, detections.xyxy)[order]


def recorded() -> tuple[DetectionTable, GroundTruthTable, dict]:
    """Darknet's recorded detections, in its order, the ground truths, and its figures."""
    key = json.loads(MAP_KEY.read_text())
    names = list(key["truths"])
    rows = [(n, each) for n, name in enumerate(names) for each in key["truths"][name]]
    zeros = np.zeros(len(rows))
    ground_truth = GroundTruthTable(
        np.array([number for number, _ in rows]),
        np.array([each["class_id"] for _, each in rows]),
        np.array([_corners(each["box_rel_cxcywh"]) for _, each in rows]),
        zeros,
        zeros,
        zeros,
    )
    detections = DetectionTable(
        np.array([names.index(each["image"]) for each in key["detections"]]),
        np.array([each["class_id"] for each in key["detections"]]),
        np.array([each["prob"] for each in key["detections"]]),
        np.array([_corners(each["box_rel_cxcywh"]) for each in key["detections"]]),
    )
    return detections, ground_truth, key


def _corners(box: list[float]) -> list[float]:
    x, y, w, h = box
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def cartucho() -> tuple[DetectionTable, GroundTruthTable, list[str]]:
    """The data set of another tool: boxes by their first and last pixels; and the class names."""
    annotations = _rows(CARTUCHO / "ground-truth", scored=False)
    detections = _rows(CARTUCHO / "detection-results", scored=True)
    names = sorted({row[1] for row in annotations + detections})
    image, name, score, box = zip(*detections, strict=True)
    numbers = np.array([names.index(each) for each in name])
    table = DetectionTable(np.array(image), numbers, np.array(score), np.array(box))
    image, name, _, box = zip(*annotations, strict=True)
    numbers = np.array([names.index(each) for each in name])
    zeros = np.zeros(len(annotations))
    ground_truth = GroundTruthTable(np.array(image), numbers, np.array(box), zeros, zeros, zeros)
    return table, ground_truth, names


def _rows(folder: Path, scored: bool) -> list[tuple[int, str, float, list[float]]]:
    rows = []
    for number, path in enumerate(sorted(folder.glob("*.txt"))):
        for line in path.read_text().splitlines():
            name, *numbers = line.split()
            values = [float(each) for each in numbers]
            score = values.pop(0) if scored else 1.0
            rows.append((number, name, score, values))
    return rows


def ground_truth_table(rows: list[tuple[int, int, list[float]]]) -> GroundTruthTable:
    """A table from (image, class, box) rows, none of them difficult or a crowd."""
    image, class_id, xyxy = (np.array(each) for each in zip(*rows, strict=True))
    zeros = np.zeros(len(rows))
    return GroundTruthTable(image, class_id, xyxy, zeros, zeros, zeros)


def naive_iou(a: np.ndarray, b: np.ndarray, pixel: float = 0.0) -> float:
    """The IoU of two boxes, one number after the other."""
    w = min(a[2], b[2]) - max(a[0], b[0]) + pixel
    h = min(a[3], b[3]) - max(a[1], b[1]) + pixel
    if w <= 0 or h <= 0:
        return 0.0
    one, two = ((x[2] - x[0] + pixel) * (x[3] - x[1] + pixel) for x in (a, b))
    return float(w * h / (one + two - w * h))
