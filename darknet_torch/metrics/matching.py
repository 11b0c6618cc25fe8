"""Pairs of detections and ground truths of one image: their IoU, best matches, first matches."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from darknet_torch.data.dataset import Array
from darknet_torch.metrics.tables import DetectionTable, GroundTruthTable, areas

__all__ = [
    "BestMatches",
    "best_matches",
    "first_matches",
    "iou",
    "order_by_class",
    "order_by_score",
    "overlapping_pairs",
]

PAIRS_PER_BLOCK = 1 << 20


class BestMatches(NamedTuple):
    """For each detection the ground truth that it overlaps most.

    ground_truth: (D,) int64, row of the ground truth, -1 where the detection overlaps none.
    iou: (D,) float64.
    """

    ground_truth: Array
    iou: Array


def iou(a: Array, b: Array, pixel: float = 0.0) -> Array:
    """Return the intersection over union of boxes, pair by pair; 0 where there is no area.

    Args:
        a: boxes (..., 4), xyxy.
        b: as many boxes.
        pixel: added to widths and heights: 1 where right and bottom are the last pixels inside
            the box, as in VOC's files; 0 where they are edges.
    """
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    intersection = np.clip(high - low + pixel, 0, None).prod(axis=-1)
    union = _areas(a, pixel) + _areas(b, pixel) - intersection
    zeros = np.zeros_like(intersection)
    ratio: Array = np.divide(intersection, union, out=zeros, where=union > 0)
    return ratio


def _areas(boxes: Array, pixel: float) -> Array:
    return areas(boxes) if not pixel else (boxes[..., 2:] - boxes[..., :2] + pixel).prod(axis=-1)


def best_matches(
    detections: DetectionTable, ground_truth: GroundTruthTable, pixel: float = 0.0
) -> BestMatches:
    """Match each detection to the ground truth of its image and class that it overlaps most.

    Of equal overlaps the first ground truth counts. Pairs are compared in blocks, so that memory
    is linear in the number of detections.
    """
    match, best = np.full(len(detections), -1), np.zeros(len(detections))
    width = 1 + max(table.class_id.max(initial=0) for table in (detections, ground_truth))
    keys = (table.image * width + table.class_id for table in (detections, ground_truth))
    for rows, candidates in _pairs(*keys):
        overlap = iou(detections.xyxy[rows], ground_truth.xyxy[candidates], pixel)
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        largest = np.maximum.reduceat(overlap, starts)
        lengths = np.diff(starts, append=len(rows))
        matched = np.flatnonzero((overlap == np.repeat(largest, lengths)) & (overlap > 0))
        first = matched[np.flatnonzero(np.diff(rows[matched], prepend=-1))]
        match[rows[first]], best[rows[first]] = candidates[first], overlap[first]
    return BestMatches(match, best)


def overlapping_pairs(
    detections: DetectionTable, ground_truth: GroundTruthTable
) -> tuple[Array, Array, Array]:
    """Return all pairs of a detection and a ground truth of one image that overlap, of any class.

    Returns:
        Rows of the detections, rows of the ground truths, and the IoU: (P,) each.
    """
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for rows, candidates in _pairs(detections.image, ground_truth.image):
        overlap = iou(detections.xyxy[rows], ground_truth.xyxy[candidates])
        positive = overlap > 0
        parts.append((rows[positive], candidates[positive], overlap[positive]))
    rows, candidates, overlap = (np.concatenate(column) for column in zip(*parts, strict=True))
    return rows, candidates, overlap


def order_by_score(score: Array) -> Array:
    """Return rows by falling score, equal scores in their order: (D,) int64."""
    return np.argsort(-score, kind="stable")


def order_by_class(class_id: Array, order: Array) -> Array:
    """Return rows class by class, within each class in the given order: (D,) int64."""
    return order[np.argsort(class_id[order], kind="stable")]


def first_matches(ground_truth: Array, order: Array, matched: Array) -> Array:
    """Return which detections are the first, in an order, of those matched to a ground truth.

    Args:
        ground_truth: (D,) int64, the ground truth's row of each detection.
        order: rows of detections.
        matched: (D,) bool, whose overlap is large enough.

    Returns:
        (D,) bool.
    """
    rows = order[matched[order]]
    _, index = np.unique(ground_truth[rows], return_index=True)
    first = np.zeros(len(ground_truth), bool)
    first[rows[index]] = True
    return first


def _pairs(left: Array, right: Array) -> Iterator[tuple[Array, Array]]:
    """Yield rows of `left` and of `right` with equal keys, in blocks; `left` stays in order."""
    sorting = np.argsort(right, kind="stable")
    keys = right[sorting]
    start = np.searchsorted(keys, left, side="left")
    count = np.searchsorted(keys, left, side="right") - start
    ends = np.cumsum(count)
    paired = np.flatnonzero(count)
    blocks = np.split(paired, np.flatnonzero(np.diff(ends[paired] // PAIRS_PER_BLOCK)) + 1)
    for block in blocks if len(paired) else ():
        rows = np.repeat(block, count[block])
        first = np.cumsum(count[block]) - count[block]
        offset = np.arange(len(rows)) - np.repeat(first, count[block])
        yield rows, sorting[start[rows] + offset]
