"""Precision over recall of one class, and the area below it, by the rules that people use."""

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from darknet_torch.errors import UsageError

__all__ = ["Curve", "Points", "average_precision", "check_points", "curve"]

Array = npt.NDArray[Any]
Points = Literal[0, 11, 101]


class Curve(NamedTuple):
    """Of one class, a row for each detection by falling score: (n,) each.

    score: the detection's; precision, recall: of all detections up to it.
    """

    score: Array
    precision: Array
    recall: Array

    @property
    def f1(self) -> Array:
        """Harmonic mean of precision and recall; 0 where both are."""
        total = self.precision + self.recall
        twice = 2 * self.precision * self.recall
        f1: Array = np.divide(twice, total, out=np.zeros_like(total), where=total > 0)
        return f1


def curve(score: Array, hit: Array, truths: int) -> Curve:
    """From scores that fall, (n,), whether each detection is right, (n,) bool, and all truths."""
    hits = np.cumsum(hit, dtype=np.float64)
    precision = hits / np.arange(1, len(hit) + 1)
    return Curve(score, precision, hits / truths if truths else np.zeros_like(hits))


def average_precision(precision: Array, recall: Array, points: Points | Array = 0) -> float:
    """The mean of a precision over recall.

    points: 0 is the area below the envelope (the highest precision at that recall or more); 11
    and 101 are the mean of the envelope at so many recalls from 0 to 1, k / (points - 1); an array
    gives the recalls themselves.
    """
    if not len(recall):
        return 0.0
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if isinstance(points, int):
        if points == 0:
            return float(np.sum(np.diff(recall, prepend=0.0) * envelope))
        points = np.arange(points) / (points - 1)
    places = np.searchsorted(recall, points, side="left")
    return float(np.append(envelope, 0.0)[places].mean())


def check_points(points: int) -> Points:
    """Return a number of points that there is a rule for; UsageError for others."""
    for known in get_args(Points):
        if points == known:
            rule: Points = known
            return rule
    raise UsageError(f"points={points}: must be 0 (area under the curve), 11 or 101")
