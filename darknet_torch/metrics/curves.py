"""Precision over recall of a class, and the average precision below it by the common rules."""

from typing import Literal, NamedTuple, get_args

import numpy as np

from darknet_torch.data.dataset import Array
from darknet_torch.errors import UsageError

__all__ = ["Curve", "Points", "average_precision", "check_points", "class_curves", "curve"]

Points = Literal[0, 11, 101]
"""How AP is computed: 0 is the area below the curve, else the mean over so many recalls."""


class Curve(NamedTuple):
    """Precision and recall of one class, a row for each detection by falling score: (n,) each.

    score: the detection's; precision, recall: of all detections up to it.
    """

    score: Array
    precision: Array
    recall: Array

    @property
    def f1(self) -> Array:
        """Harmonic mean of precision and recall; 0 where both are 0."""
        total = self.precision + self.recall
        twice = 2 * self.precision * self.recall
        f1: Array = np.divide(twice, total, out=np.zeros_like(total), where=total > 0)
        return f1


def curve(score: Array, true_positive: Array, ground_truths: int) -> Curve:
    """Compute the curve of one class.

    Args:
        score: (n,) falling scores.
        true_positive: (n,) bool; the others are false positives.
        ground_truths: how many ground truths the class has.
    """
    total = np.cumsum(true_positive, dtype=np.float64)
    precision = total / np.arange(1, len(true_positive) + 1)
    recall = total / ground_truths if ground_truths else np.zeros_like(total)
    return Curve(score, precision, recall)


def class_curves(
    class_id: Array, score: Array, true_positive: Array, ground_truths: Array
) -> list[Curve]:
    """Compute the curve of each class.

    Args:
        class_id: (D,) int64, ascending.
        score: (D,) falling within each class.
        true_positive: (D,) bool.
        ground_truths: (C,) number of ground truths of each class.
    """
    ends = np.cumsum(np.bincount(class_id, minlength=len(ground_truths)))[:-1]
    scores, flags = np.split(score, ends), np.split(true_positive, ends)
    return [curve(*row) for row in zip(scores, flags, ground_truths.tolist(), strict=True)]


def average_precision(precision: Array, recall: Array, points: Points | Array = 0) -> float:
    """Return the mean precision over recall.

    Args:
        precision: (n,).
        recall: (n,) ascending.
        points: 0 is the area below the envelope (the highest precision at that recall or more); 11
            and 101 are the mean of the envelope at so many recalls from 0 to 1, k / (points - 1);
            an array holds the recalls themselves.
    """
    if not len(recall):
        return 0.0
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if isinstance(points, int):
        if points == 0:
            return float(np.sum(np.diff(recall, prepend=0.0) * envelope))
        points = np.arange(points) / (points - 1)
    index = np.searchsorted(recall, points, side="left")
    return float(np.append(envelope, 0.0)[index].mean())


def check_points(points: int) -> Points:
    """Return `points` if there is such a rule; raise UsageError otherwise."""
    for known in get_args(Points):
        if points == known:
            rule: Points = known
            return rule
    raise UsageError(f"points={points}: must be 0 (area under the curve), 11 or 101")
