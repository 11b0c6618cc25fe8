"""Which truth a detection means: of its picture and class, the one that it overlaps most."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from darknet_torch.metrics.tables import Found, Marked, areas

__all__ = ["Pairs", "by_class", "by_score", "first_claims", "iou", "nearest", "overlaps"]

Array = npt.NDArray[Any]
PAIRS_AT_ONCE = 1 << 20


class Pairs(NamedTuple):
    """For each detection its truth's row, -1 where it overlaps none, and the IoU: (D,), (D,)."""

    truth: Array
    iou: Array


def iou(a: Array, b: Array, pixel: float = 0.0) -> Array:
    """Intersection over union of boxes (..., 4) xyxy, pair by pair; 0 where there is no area.

    pixel: what is added to widths and heights: 1 where right and bottom are the last pixels
    inside the box, as in VOC's files.
    """
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    inner = np.clip(high - low + pixel, 0, None).prod(axis=-1)
    outer = _areas(a, pixel) + _areas(b, pixel) - inner
    overlap: Array = np.divide(inner, outer, out=np.zeros_like(inner), where=outer > 0)
    return overlap


def _areas(boxes: Array, pixel: float) -> Array:
    return areas(boxes) if not pixel else (boxes[..., 2:] - boxes[..., :2] + pixel).prod(axis=-1)


def nearest(found: Found, marked: Marked, pixel: float = 0.0) -> Pairs:
    """Pair each detection with the truth of its picture and class that it overlaps most.

    Of equal overlaps the first truth counts. Memory is linear in detections: the candidates are
    gone through in blocks.
    """
    truth, best = np.full(len(found), -1), np.zeros(len(found))
    width = 1 + max(found.class_id.max(initial=0), marked.class_id.max(initial=0))
    keys = (found.picture * width + found.class_id, marked.picture * width + marked.class_id)
    for rows, candidates in _candidates(*keys):
        overlap = iou(found.xyxy[rows], marked.xyxy[candidates], pixel)
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        most = np.maximum.reduceat(overlap, starts)
        lengths = np.diff(starts, append=len(rows))
        hits = np.flatnonzero((overlap == np.repeat(most, lengths)) & (overlap > 0))
        first = hits[np.flatnonzero(np.diff(rows[hits], prepend=-1))]
        truth[rows[first]], best[rows[first]] = candidates[first], overlap[first]
    return Pairs(truth, best)


def overlaps(found: Found, marked: Marked) -> tuple[Array, Array, Array]:
    """All pairs of a detection and a truth of one picture that overlap, whatever their classes.

    Returns the detections' rows, the truths' rows, and the IoU: (P,) each.
    """
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for rows, candidates in _candidates(found.picture, marked.picture):
        overlap = iou(found.xyxy[rows], marked.xyxy[candidates])
        some = overlap > 0
        parts.append((rows[some], candidates[some], overlap[some]))
    rows, candidates, overlap = (np.concatenate(each) for each in zip(*parts, strict=True))
    return rows, candidates, overlap


def by_score(score: Array) -> Array:
    """Rows by falling score, equal scores in their order: (D,) int64."""
    return np.argsort(-score, kind="stable")


def by_class(class_id: Array, order: Array) -> Array:
    """Rows class by class, within each in the given order: (D,) int64."""
    return order[np.argsort(class_id[order], kind="stable")]


def first_claims(truth: Array, order: Array, hit: Array) -> Array:
    """Say which detections are the first, in an order, to hit their truth: (D,) bool.

    truth: (D,) rows; order: rows of detections; hit: (D,) bool, whose overlap is large enough.
    """
    rows = order[hit[order]]
    _, first = np.unique(truth[rows], return_index=True)
    claims = np.zeros(len(truth), bool)
    claims[rows[first]] = True
    return claims


def _candidates(mine: Array, theirs: Array) -> Any:
    """Yield (rows of `mine`, rows of `theirs`) with equal keys, rows of `mine` in order."""
    sorting = np.argsort(theirs, kind="stable")
    keys = theirs[sorting]
    start = np.searchsorted(keys, mine, side="left")
    count = np.searchsorted(keys, mine, side="right") - start
    ends = np.cumsum(count)
    some = np.flatnonzero(count)
    blocks = np.split(some, np.flatnonzero(np.diff(ends[some] // PAIRS_AT_ONCE)) + 1)
    for block in blocks if len(some) else ():
        rows = np.repeat(block, count[block])
        first = np.cumsum(count[block]) - count[block]
        offset = np.arange(len(rows)) - np.repeat(first, count[block])
        yield rows, sorting[start[rows] + offset]
