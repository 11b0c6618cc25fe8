"""What is taken for what: detections against truths of any class."""

from typing import Any

import numpy as np
import numpy.typing as npt

from darknet_torch.metrics.matching import overlaps
from darknet_torch.metrics.tables import Found, Marked, check_classes

__all__ = ["matrix"]

Array = npt.NDArray[Any]


def matrix(
    found: Found, marked: Marked, classes: int, *, iou: float = 0.5, threshold: float = 0.25
) -> Array:
    """Count pairs (C + 1, C + 1) int64: row = class found, column = class marked.

    Detections above the threshold and truths that overlap by more than `iou` are paired one to one,
    the largest overlap first, whatever their classes. The last row counts truths that are missed,
    the last column detections that mean nothing. Difficult truths and crowds are left out, and so
    are the detections on them.
    """
    check_classes(classes, found, marked)
    found = found[found.score > threshold]
    mine, theirs = _one_to_one(*overlaps(found, marked), iou)
    left_out = marked.difficult | marked.crowd
    truth = np.full(len(found), -1)
    truth[mine] = theirs
    rows = found.class_id, np.full(len(marked), classes)
    missed = np.ones(len(marked), bool)
    missed[theirs] = False
    columns = np.where(truth >= 0, np.append(marked.class_id, 0)[truth], classes), marked.class_id
    counts = np.append(~left_out, True)[truth], missed & ~left_out
    total = np.zeros((classes + 1, classes + 1), np.int64)
    for row, column, some in zip(rows, columns, counts, strict=True):
        np.add.at(total, (row[some], column[some]), 1)
    return total


def _one_to_one(mine: Array, theirs: Array, overlap: Array, iou: float) -> tuple[Array, Array]:
    """Choose pairs, the largest overlap first, so that every row occurs once at most."""
    order = np.argsort(-overlap, kind="stable")
    order = order[overlap[order] > iou]
    mine, theirs = mine[order], theirs[order]
    chosen = [(mine[:0], theirs[:0])]
    while len(mine):
        best = np.zeros(len(mine), bool)
        best[np.unique(mine, return_index=True)[1]] = True
        other = np.zeros(len(mine), bool)
        other[np.unique(theirs, return_index=True)[1]] = True
        best &= other
        chosen.append((mine[best], theirs[best]))
        left = ~(np.isin(mine, mine[best]) | np.isin(theirs, theirs[best]))
        mine, theirs = mine[left], theirs[left]
    ours, others = zip(*chosen, strict=True)
    return np.concatenate(ours), np.concatenate(others)
