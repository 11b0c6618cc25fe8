"""Darknet's kinds of non-maximum suppression (NMS), on the CPU, where few boxes arrive."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["NmsKind", "kept_boxes", "non_maximum_suppression"]

Array = npt.NDArray[Any]
NmsKind = Literal["default", "greedynms", "diounms"]
PAIRS_AT_ONCE = 1 << 21


def non_maximum_suppression(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    threshold: float,
    kind: NmsKind = "default",
    beta: float = 0.6,
) -> Tensor:
    """Return which boxes are kept, as (N,) bool: none overlaps a better kept box of its group.

    There is no loop over boxes: all pairs that overlap are computed at once (in blocks of bounded
    memory); then every box that overlaps a better box still kept is dropped, until nothing changes.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,); of equal ones the first wins.
        groups: (N,) integers; only boxes of the same group compete.
        threshold: overlap above which the box of lower score is dropped.
        kind: overlap is the IoU for "default"; "greedynms" and "diounms" subtract
            (squared centre distance / squared enclosing diagonal) ** beta.
        beta: exponent of "diounms"; that of "greedynms" is always 0.6, as in AlexeyAB's fork.
    """
    a, b, c = (each.cpu().numpy() for each in (boxes, scores, groups))
    kept = kept_boxes(a, b, c, threshold, kind, beta)
    return torch.from_numpy(kept).to(boxes.device)


@np.errstate(all="ignore")  # boxes may be infinite, and their overlaps NaN
def kept_boxes(
    boxes: Array, scores: Array, groups: Array, threshold: float, kind: NmsKind, beta: float
) -> Array:
    """Do the same with arrays, whose operations take a fraction of the time where boxes are few.

    Args:
        boxes, scores, groups, threshold, kind, beta: as in `non_maximum_suppression`.

    Returns:
        (N,) bool.
    """
    order = np.lexsort((-scores, groups))
    exponent = {"default": None, "greedynms": 0.6, "diounms": beta}[kind]
    better, worse = _overlapping(boxes[order].T.copy(), groups[order], threshold, exponent)
    alive = np.ones(len(order), dtype=bool)
    while len(worse):
        after = np.ones_like(alive)
        after[worse[alive[better]]] = False
        if np.array_equal(after, alive):
            break
        alive = after
    keep = np.empty_like(alive)
    keep[order] = alive
    return keep


def _overlapping(
    boxes: Array, groups: Array, threshold: float, beta: float | None
) -> tuple[Array, Array]:
    """Return indices (better, worse) of overlapping pairs of one group.

    Args:
        boxes: (4, N) left, top, right, bottom.
        groups: (N,), in order.
        threshold: above which two boxes overlap.
        beta: exponent of the distance; None: the IoU alone counts.
    """
    index = np.arange(len(groups))
    # number of worse boxes of its group behind each box
    later = np.searchsorted(groups, groups, side="right") - index - 1
    blocks = later.cumsum() // PAIRS_AT_ONCE
    pairs = list[Array]()
    for part in np.split(index, np.flatnonzero(np.diff(blocks)) + 1):
        count = later[part]
        better: Array = part.repeat(count)
        worse = better + 1 + np.arange(len(better)) - (count.cumsum() - count).repeat(count)
        pair = np.stack((better, worse))
        pair = pair[:, _iou(boxes[:, better], boxes[:, worse]) > threshold]
        if beta is not None:  # what is subtracted is never negative
            a, b = boxes[:, pair[0]], boxes[:, pair[1]]
            pair = pair[:, _iou(a, b) - _distance(a, b, beta) > threshold]
        pairs.append(pair)
    better, worse = np.concatenate(pairs, axis=1)
    return better, worse


def _iou(a: Array, b: Array) -> Array:
    """Return the IoU (N,) of boxes (4, N), pair by pair; 0 where there is no area."""
    inside = _area(np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:]), least=0)
    union = _area(a[:2], a[2:]) + _area(b[:2], b[2:]) - inside
    return np.where(union == 0, 0, inside / union)


def _area(low: Array, high: Array, least: float = -np.inf) -> Array:
    sides = np.maximum(high - low, least)
    area: Array = sides[0] * sides[1]
    return area


def _distance(a: Array, b: Array, beta: float) -> Array:
    """Return (squared centre distance / squared enclosing diagonal) ** beta; 0 for points."""
    around = np.square(np.maximum(a[2:], b[2:]) - np.minimum(a[:2], b[:2]))
    apart = np.square((a[:2] + a[2:]) / 2 - (b[:2] + b[2:]) / 2)
    diagonal, centres = around[0] + around[1], apart[0] + apart[1]
    share: Array = np.where(diagonal == 0, 0, centres / diagonal)
    return share**beta
