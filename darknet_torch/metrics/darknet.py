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
from darknet_torch.metrics.matching import by_class, by_score, first_claims, nearest
from darknet_torch.metrics.tables import Found, Marked, check_classes

__all__ = ["Counts", "Judged", "Matches", "judge"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Counts:
    """At a confidence threshold, of one class or of all: right, wrong, missed."""

    tp: int
    fp: int
    fn: int
    iou: float
    """Mean overlap of detections above the threshold; wrong ones count as 0."""

    @property
    def truths(self) -> int:
        """How many there are to be found."""
        return self.tp + self.fn

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
    """Detections with a verdict each, at one overlap; sorted by class, then by falling score.

    row: (D,) of the table of detections; class_id, score, iou (with its truth): (D,); hit: (D,)
    bool, whether it is the first by score on its truth; listed_hit: the same, in its picture's own
    order; truths: (C,) how many there are.
    """

    row: Array
    class_id: Array
    score: Array
    iou: Array
    hit: Array
    listed_hit: Array
    truths: Array

    def curves(self) -> list[Curve]:
        """Precision and recall of each class."""
        ends = np.cumsum(np.bincount(self.class_id, minlength=len(self.truths)))[:-1]
        scores, hits = np.split(self.score, ends), np.split(self.hit, ends)
        return [curve(*each) for each in zip(scores, hits, self.truths.tolist(), strict=True)]

    def average_precisions(self, points: Points = 0) -> Array:
        """AP of each class, (C,) in 0..1; only where a detection is right does recall change."""
        size, hits = len(self.truths), np.flatnonzero(self.hit)
        class_id = self.class_id[hits]
        first, end = (np.searchsorted(each, np.arange(size)) for each in (self.class_id, class_id))
        right = np.arange(len(hits)) - end[class_id] + 1
        precision = right / (hits - first[class_id] + 1)
        recall = right / self.truths[class_id]
        parts = (np.split(each, end[1:]) for each in (precision, recall))
        every = [average_precision(p, r, points) for p, r in zip(*parts, strict=True)]
        return np.array(every, np.float64)

    def counts(self, threshold: float = 0.25) -> Counts:
        """Right and wrong detections that score above the threshold, as the pictures list them."""
        sure = self.score > threshold
        right = sure & self.listed_hit
        tp, every = int(right.sum()), int(sure.sum())
        iou = _share(float(self.iou[right].sum()), every)
        return Counts(tp, every - tp, int(self.truths.sum()) - tp, iou)

    def class_counts(self, threshold: float = 0.25) -> list[Counts]:
        """The same for each class."""
        sure, size = self.score > threshold, len(self.truths)
        right = sure & self.listed_hit
        tp = np.bincount(self.class_id[right], minlength=size)
        every = np.bincount(self.class_id[sure], minlength=size)
        overlap = np.bincount(self.class_id[right], self.iou[right], minlength=size)
        columns = (tp, every - tp, self.truths - tp, overlap)
        return [
            Counts(good, bad, missed, _share(total, good + bad))
            for good, bad, missed, total in zip(*(c.tolist() for c in columns), strict=True)
        ]


class Matches:
    """Each detection with the truth that it means, for verdicts at any overlap."""

    def __init__(self, found: Found, marked: Marked, classes: int, *, pixel: float = 0.0) -> None:
        check_classes(classes, found, marked)
        easy, hard = marked[~marked.difficult], marked[marked.difficult]
        self.found = found
        self.pairs = nearest(found, easy, pixel)
        self.on_hard = nearest(found, hard, pixel).iou
        self.truths = np.bincount(easy.class_id, minlength=classes)
        self.order = by_class(found.class_id, by_score(found.score))

    def judge(self, iou: float = 0.5) -> Judged:
        """Say of each detection whether it is right: its overlap must be larger than `iou`."""
        truth, overlap = self.pairs
        hit = overlap > iou
        order = self.order[hit[self.order] | (self.on_hard[self.order] <= iou)]
        return Judged(
            order,
            self.found.class_id[order],
            self.found.score[order],
            overlap[order],
            first_claims(truth, self.order, hit)[order],
            first_claims(truth, np.arange(len(truth)), hit)[order],
            self.truths,
        )


def judge(
    found: Found, marked: Marked, classes: int, iou: float = 0.5, *, pixel: float = 0.0
) -> Judged:
    """Say of each detection whether it is right, at one overlap.

    classes: how many there are; pixel: see `pairing.iou`.
    """
    return Matches(found, marked, classes, pixel=pixel).judge(iou)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
