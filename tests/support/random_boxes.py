"""Random truths and detections of many pictures, and Darknet's recorded ones, as tables."""

import json
from pathlib import Path

import numpy as np
from keys import SHARED

from darknet_torch.metrics.tables import Found, Marked, areas

MAP_KEY = SHARED / "oracle" / "train" / "map_eval.json"
CARTUCHO = SHARED / "datasets" / "cartucho-map" / "input"
SIDE = 400


def random_tables(
    seed: int,
    pictures: int,
    classes: int,
    most: int = 8,
    *,
    ties: bool = True,
) -> tuple[Found, Marked]:
    """Truths, and detections near some of them, with all that can be odd.

    Pictures without truth or detections, classes that occur nowhere, equal scores (unless told
    otherwise), difficult and crowd rows, duplicate truths.
    """
    rng = np.random.default_rng(seed)
    used = rng.permutation(classes)[: max(1, classes * 3 // 4)]
    counts = rng.integers(0, most + 1, pictures) * (rng.random(pictures) > 0.1)
    picture = np.repeat(np.arange(pictures), counts)
    total = len(picture)
    low = rng.random((total, 2)) * SIDE * 0.7
    size = SIDE * (0.02 + 0.5 * rng.random((total, 2)) ** 2)
    xyxy = np.hstack((low, low + size))
    class_id = rng.choice(used, total)
    xyxy[1::17] = xyxy[0::17][: len(xyxy[1::17])]
    crowd = rng.random(total) < 0.05
    hard = rng.random(total) < 0.1
    truth = Marked(picture, class_id, xyxy, hard, crowd, areas(xyxy) * 0.8)
    return _found(rng, truth, pictures, used, ties), truth


def _found(
    rng: np.random.Generator,
    truth: Marked,
    pictures: int,
    used: np.ndarray,
    ties: bool,
) -> Found:
    copies = np.repeat(np.arange(len(truth)), rng.integers(0, 4, len(truth)))
    shake = rng.normal(0, 1, (len(copies), 4)) * SIDE * 0.015
    near = truth.xyxy[copies] + shake
    near = np.hstack((near[:, :2], np.maximum(near[:, 2:], near[:, :2] + 2)))
    wrong = len(copies) // 2
    low = rng.random((wrong, 2)) * SIDE * 0.8
    far = np.hstack((low, low + 4 + 100 * rng.random((wrong, 2))))
    class_id = np.where(
        rng.random(len(copies)) < 0.9, truth.class_id[copies], rng.choice(used, len(copies))
    )
    columns = (
        np.concatenate((truth.picture[copies], rng.integers(0, pictures, wrong))),
        np.concatenate((class_id, rng.choice(used, wrong))),
        rng.random(len(copies) + wrong),
        np.concatenate((near, far)),
    )
    found = Found(*columns)
    score = found.score.round(1) if ties else found.score
    order = np.argsort(found.picture, kind="stable")
    return Found(found.picture, found.class_id, score, found.xyxy)[order]


def recorded() -> tuple[Found, Marked, dict]:
    """Darknet's recorded detections, in its order, the truths, and its figures."""
    key = json.loads(MAP_KEY.read_text())
    names = list(key["truths"])
    rows = [(n, each) for n, name in enumerate(names) for each in key["truths"][name]]
    zeros = np.zeros(len(rows))
    truth = Marked(
        np.array([number for number, _ in rows]),
        np.array([each["class_id"] for _, each in rows]),
        np.array([_corners(each["box_rel_cxcywh"]) for _, each in rows]),
        zeros,
        zeros,
        zeros,
    )
    found = Found(
        np.array([names.index(each["image"]) for each in key["detections"]]),
        np.array([each["class_id"] for each in key["detections"]]),
        np.array([each["prob"] for each in key["detections"]]),
        np.array([_corners(each["box_rel_cxcywh"]) for each in key["detections"]]),
    )
    return found, truth, key


def _corners(box: list[float]) -> list[float]:
    x, y, w, h = box
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def cartucho() -> tuple[Found, Marked, list[str]]:
    """The data set of another tool: boxes by their first and last pixels; and the class names."""
    truth = _rows(CARTUCHO / "ground-truth", scored=False)
    found = _rows(CARTUCHO / "detection-results", scored=True)
    names = sorted({row[1] for row in truth + found})
    picture, name, score, box = zip(*found, strict=True)
    numbers = np.array([names.index(each) for each in name])
    table = Found(np.array(picture), numbers, np.array(score), np.array(box))
    picture, name, _, box = zip(*truth, strict=True)
    numbers = np.array([names.index(each) for each in name])
    zeros = np.zeros(len(truth))
    return table, Marked(np.array(picture), numbers, np.array(box), zeros, zeros, zeros), names


def _rows(folder: Path, scored: bool) -> list[tuple[int, str, float, list[float]]]:
    rows = []
    for number, path in enumerate(sorted(folder.glob("*.txt"))):
        for line in path.read_text().splitlines():
            name, *numbers = line.split()
            values = [float(each) for each in numbers]
            score = values.pop(0) if scored else 1.0
            rows.append((number, name, score, values))
    return rows
