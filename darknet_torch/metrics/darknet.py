"""What AlexeyAB's `darknet detector map` says of detections.

A detection means the truth of its class that it overlaps most, if by more than the threshold. Of
the detections that mean the same truth the one with the highest score is right, the others are
wrong. The mean is over all classes, those without any truth count as 0.

Truths marked as difficult (his `difficult=` list) are not missed when nobody finds them; detections
on them that mean no other truth do not count.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from darknet_torch.metrics.curves import Curve, Points, average_precision, curve
from darknet_torch.metrics.pairing import by_score, first_claims, nearest
from darknet_torch.metrics.table import Found, Marked, check_classes

__all__ = ["ClassCount", "Counts", "Judged", "judge"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ClassCount:
    """Of one class, at the confidence threshold: right, wrong, and all truths."""

    class_id: int
    tp: int
    fp: int
    truths: int
    iou: float
    """Mean overlap of detections above the threshold; wrong ones count as 0."""


@dataclass(frozen=True)
class Counts:
    """Of all classes, at the confidence threshold."""

    tp: int
    fp: int
    fn: int
    iou: float
    """Mean overlap of detections above the threshold; wrong ones count as 0."""

    @property
    def precision(self) -> float:
        """Share of detections that are right."""
        return _share(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Share of truths that are found."""
        return _share(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _share(2 * self.tp, 2 * self.tp + self.fp + self.fn)


@dataclass(frozen=True, eq=False)
class Judged:
    """Detections with a verdict each, at one overlap.

    found: those that count; hit: (D,) bool, whether it is the first by score on its truth;
    listed_hit: the same, by its picture's own order; iou: (D,) with its truth; truths: (C,).
    """

    found: Found
    hit: Array
    listed_hit: Array
    iou: Array
    truths: Array

    def curves(self) -> list[Curve]:
        """Precision and recall of each class."""
        order = by_score(self.found.score)
        order = order[np.argsort(self.found.class_id[order], kind="stable")]
        sizes = np.bincount(self.found.class_id, minlength=len(self.truths))
        parts = np.split(order, np.cumsum(sizes)[:-1])
        return [
            curve(self.found.score[rows], self.hit[rows], int(truths))
            for rows, truths in zip(parts, self.truths, strict=True)
        ]

    def average_precisions(self, points: Points = 0) -> Array:
        """AP of each class, (C,) in 0..1."""
        every = [average_precision(c.precision, c.recall, points) for c in self.curves()]
        return np.array(every, np.float64)

    def counts(self, threshold: float = 0.25) -> Counts:
        """Right and wrong detections that score above the threshold, as the pictures list them."""
        sure = self.found.score > threshold
        right = sure & self.listed_hit
        tp, every = int(right.sum()), int(sure.sum())
        iou = _share(float(self.iou[right].sum()), every)
        return Counts(tp, every - tp, int(self.truths.sum()) - tp, iou)

    def class_counts(self, threshold: float = 0.25) -> list[ClassCount]:
        """The same for each class."""
        sure, size = self.found.score > threshold, len(self.truths)
        right = sure & self.listed_hit
        tp = np.bincount(self.found.class_id[right], minlength=size)
        every = np.bincount(self.found.class_id[sure], minlength=size)
        overlap = np.bincount(self.found.class_id[right], self.iou[right], minlength=size)
        return [
            ClassCount(
                number,
                int(tp[number]),
                int(every[number] - tp[number]),
                int(self.truths[number]),
                _share(float(overlap[number]), int(every[number])),
            )
            for number in range(size)
        ]


def judge(
    found: Found, marked: Marked, classes: int, iou: float = 0.5, *, pixel: float = 0.0
) -> Judged:
    """Say of each detection whether it is right.

    classes: how many there are; iou: an overlap must be larger; pixel: see `pairing.iou`.
    """
    check_classes(classes, found, marked)
    easy, hard = marked[~marked.difficult], marked[marked.difficult]
    pairs = nearest(found, easy, pixel)
    hit = pairs.iou > iou
    if len(hard):
        counts = hit | (nearest(found, hard, pixel).iou <= iou)
        found, hit = found[counts], hit[counts]
        pairs = pairs._replace(truth=pairs.truth[counts], iou=pairs.iou[counts])
    return Judged(
        found,
        first_claims(pairs.truth, by_score(found.score), hit),
        first_claims(pairs.truth, np.arange(len(found)), hit),
        pairs.iou,
        np.bincount(easy.class_id, minlength=classes),
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
