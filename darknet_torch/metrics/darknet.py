"""The figures of AlexeyAB's `darknet detector map` (`validate_detector_map` in his detector.c).

A detection is matched to the ground truth of its image and class that it overlaps most, if the IoU
is larger than the threshold. Of the detections matched to one ground truth the one with the highest
score is a true positive, the others are false positives. The mean is over all classes; those
without any ground truth count as 0.

Difficult ground truths (the list `difficult=` in a .data file) are no false negatives when they are
missed; detections matched to nothing else do not count.
"""

import math
from dataclasses import dataclass

import numpy as np

from darknet_torch.data.dataset import Array
from darknet_torch.metrics.curves import Curve, Points, average_precision, class_curves
from darknet_torch.metrics.matching import (
    best_matches,
    first_matches,
    order_by_class,
    order_by_score,
)
from darknet_torch.metrics.tables import DetectionTable, GroundTruthTable, check_classes

__all__ = ["Counts", "MatchedDetections", "Matcher", "match"]


@dataclass(frozen=True)
class Counts:
    """True positives, false positives and false negatives above a score, of one class or of all.

    iou: mean IoU of the detections above the score, where a false positive counts as 0.

    A share of nothing, such as the precision without detections, is NaN.
    """

    tp: int
    fp: int
    fn: int
    iou: float

    @property
    def ground_truths(self) -> int:
        """Number of ground truths that are not difficult."""
        return self.tp + self.fn

    @property
    def precision(self) -> float:
        """True positives / detections."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """True positives / ground truths."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)


@dataclass(frozen=True, eq=False)
class MatchedDetections:
    """Detections as true and false positives at one IoU, by class, then by falling score.

    Attributes:
        row: (D,) int64, row of the table of detections.
        class_id: (D,) int64.
        score: (D,) float64.
        iou: (D,) float64, with the matched ground truth.
        true_positive: (D,) bool, whether it has the highest score of those matched to its ground
            truth. AP counts these.
        listed_true_positive: (D,) bool, whether it is the first of those matched to its ground
            truth in the order in which the image lists its detections. Darknet's counts at a
            threshold go by these.
        ground_truths: (C,) int64, number of ground truths of each class that are not difficult.
    """

    row: Array
    class_id: Array
    score: Array
    iou: Array
    true_positive: Array
    listed_true_positive: Array
    ground_truths: Array

    def curves(self) -> list[Curve]:
        """Return precision over recall of each class."""
        return class_curves(self.class_id, self.score, self.true_positive, self.ground_truths)

    def average_precisions(self, points: Points = 0) -> Array:
        """Return the AP of each class, (C,) in 0..1."""
        # recall changes at true positives only: they are enough, and far fewer
        size, positives = len(self.ground_truths), np.flatnonzero(self.true_positive)
        class_id = self.class_id[positives]
        classes = np.arange(size)
        first, start = (np.searchsorted(ids, classes) for ids in (self.class_id, class_id))
        count = np.arange(len(positives)) - start[class_id] + 1
        precision = count / (positives - first[class_id] + 1)
        recall = count / self.ground_truths[class_id]
        parts = (np.split(column, start[1:]) for column in (precision, recall))
        ap = [average_precision(p, r, points) for p, r in zip(*parts, strict=True)]
        return np.array(ap, np.float64)

    def counts(self, threshold: float = 0.25) -> Counts:
        """Count true and false positives with a score above the threshold, and false negatives."""
        above = self.score > threshold
        positive = above & self.listed_true_positive
        tp, total = int(positive.sum()), int(above.sum())
        iou = _ratio(float(self.iou[positive].sum()), total)
        return Counts(tp, total - tp, int(self.ground_truths.sum()) - tp, iou)

    def class_counts(self, threshold: float = 0.25) -> list[Counts]:
        """Return the counts of each class; see `counts`."""
        above, size = self.score > threshold, len(self.ground_truths)
        positive = above & self.listed_true_positive
        tp = np.bincount(self.class_id[positive], minlength=size)
        total = np.bincount(self.class_id[above], minlength=size)
        overlap = np.bincount(self.class_id[positive], self.iou[positive], minlength=size)
        columns = (tp, total - tp, self.ground_truths - tp, overlap)
        return [
            Counts(tp, fp, fn, _ratio(iou_sum, tp + fp))
            for tp, fp, fn, iou_sum in zip(*(c.tolist() for c in columns), strict=True)
        ]


class Matcher:
    """Detections and their best matches, computed once for true positives at any IoU."""

    def __init__(
        self,
        detections: DetectionTable,
        ground_truth: GroundTruthTable,
        classes: int,
        *,
        pixel: float = 0.0,
    ) -> None:
        check_classes(classes, detections, ground_truth)
        easy = ground_truth[~ground_truth.difficult]
        difficult = ground_truth[ground_truth.difficult]
        self.detections = detections
        self.best = best_matches(detections, easy, pixel)
        self.difficult_iou = best_matches(detections, difficult, pixel).iou
        self.ground_truths = np.bincount(easy.class_id, minlength=classes)
        self.order = order_by_class(detections.class_id, order_by_score(detections.score))

    def match(self, iou: float = 0.5) -> MatchedDetections:
        """Split detections into true and false positives; a match has an IoU larger than `iou`."""
        ground_truth, overlap = self.best
        matched = overlap > iou
        order = self.order[matched[self.order] | (self.difficult_iou[self.order] <= iou)]
        listed = np.arange(len(ground_truth))
        return MatchedDetections(
            row=order,
            class_id=self.detections.class_id[order],
            score=self.detections.score[order],
            iou=overlap[order],
            true_positive=first_matches(ground_truth, self.order, matched)[order],
            listed_true_positive=first_matches(ground_truth, listed, matched)[order],
            ground_truths=self.ground_truths,
        )


def match(
    detections: DetectionTable,
    ground_truth: GroundTruthTable,
    classes: int,
    iou: float = 0.5,
    *,
    pixel: float = 0.0,
) -> MatchedDetections:
    """Match detections to ground truths at one IoU.

    Args:
        detections: of all images.
        ground_truth: of the same images.
        classes: number of classes.
        iou: the IoU of a match must be larger.
        pixel: added to widths and heights, see `matching.iou`.

    Raises:
        UsageError: a class index of a table is not below `classes`.
    """
    return Matcher(detections, ground_truth, classes, pixel=pixel).match(iou)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
