"""The confusion matrix of a detector: detections paired with ground truths of any class."""

import numpy as np

from darknet_torch.data.dataset import Array
from darknet_torch.metrics.matching import overlapping_pairs
from darknet_torch.metrics.tables import DetectionTable, GroundTruthTable, check_classes

__all__ = ["matrix"]


def matrix(
    detections: DetectionTable,
    ground_truth: GroundTruthTable,
    classes: int,
    *,
    iou: float = 0.5,
    threshold: float = 0.25,
) -> Array:
    """Count pairs of a detected class (row) and a ground truth class (column).

    Detections above the threshold and ground truths are paired one to one, the largest IoU first,
    whatever their classes. Difficult ground truths and crowds do not count, nor do the detections
    paired with them.

    Args:
        detections: of all images.
        ground_truth: of the same images.
        classes: number of classes, C.
        iou: the IoU of a pair must be larger.
        threshold: the score of a detection must be larger.

    Returns:
        (C + 1, C + 1) int64. The last row counts ground truths without a detection, the last
        column detections without a ground truth.

    Raises:
        UsageError: a class index of a table is not below `classes`.
    """
    check_classes(classes, detections, ground_truth)
    detections = detections[detections.score > threshold]
    paired, partners = _one_to_one(*overlapping_pairs(detections, ground_truth), iou)
    ignored = ground_truth.difficult | ground_truth.crowd
    partner = np.full(len(detections), -1)
    partner[paired] = partners
    alone = np.ones(len(ground_truth), bool)
    alone[partners] = False
    partner_class = np.append(ground_truth.class_id, 0)[partner]
    rows = detections.class_id, np.full(len(ground_truth), classes)
    columns = np.where(partner >= 0, partner_class, classes), ground_truth.class_id
    counted = np.append(~ignored, True)[partner], alone & ~ignored
    total = np.zeros((classes + 1, classes + 1), np.int64)
    for row, column, mask in zip(rows, columns, counted, strict=True):
        np.add.at(total, (row[mask], column[mask]), 1)
    return total


def _one_to_one(left: Array, right: Array, overlap: Array, iou: float) -> tuple[Array, Array]:
    """Choose pairs, the largest overlap first, so that every row occurs once at most."""
    order = np.argsort(-overlap, kind="stable")
    order = order[overlap[order] > iou]
    left, right = left[order], right[order]
    chosen = [(left[:0], right[:0])]
    while len(left):
        best = _first_of_each(left) & _first_of_each(right)
        chosen.append((left[best], right[best]))
        rest = ~(np.isin(left, left[best]) | np.isin(right, right[best]))
        left, right = left[rest], right[rest]
    lefts, rights = zip(*chosen, strict=True)
    return np.concatenate(lefts), np.concatenate(rights)


def _first_of_each(values: Array) -> Array:
    """(n,) bool: where a value occurs for the first time."""
    first = np.zeros(len(values), bool)
    first[np.unique(values, return_index=True)[1]] = True
    return first
