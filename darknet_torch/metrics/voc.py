"""The figures of the PASCAL VOC challenges: 2007's eleven points, and the area since 2010.

As in Darknet's, a detection is matched to the ground truth of its image and class that it overlaps
most. Here the IoU must be at least the threshold, difficult ground truths compete with the others,
and detections matched to them do not count. The mean is over the classes that have ground truths.
Source: VOCevaldet.m of the challenge's development kit.
"""

import math
from dataclasses import dataclass

import numpy as np

from darknet_torch.data.dataset import Array
from darknet_torch.metrics.curves import average_precision, class_curves
from darknet_torch.metrics.matching import (
    best_matches,
    first_matches,
    order_by_class,
    order_by_score,
)
from darknet_torch.metrics.tables import DetectionTable, GroundTruthTable, check_classes

__all__ = ["VocFigures", "evaluate"]

ELEVEN = np.arange(0.0, 1.1, 0.1)
"""The recalls as the challenge's program steps through them: the fourth is a hair above 0.3."""


@dataclass(frozen=True, eq=False)
class VocFigures:
    """AP of each class by both rules, (C,) in 0..1, NaN for classes without ground truths.

    The means are NaN where no class has any.
    """

    ap07: Array
    ap10: Array

    @property
    def map07(self) -> float:
        """Mean over the classes that have ground truths, eleven points."""
        return _mean(self.ap07)

    @property
    def map10(self) -> float:
        """Mean over the classes that have ground truths, area."""
        return _mean(self.ap10)


def evaluate(
    detections: DetectionTable,
    ground_truth: GroundTruthTable,
    classes: int,
    iou: float = 0.5,
    *,
    pixel: float = 0.0,
) -> VocFigures:
    """Compute both figures.

    Args:
        detections: of all images.
        ground_truth: of the same images.
        classes: number of classes.
        iou: the smallest IoU of a match.
        pixel: 1 where right and bottom are the last pixels inside the box, as in the challenge's
            files; 0 where they are edges, as in `Detections`.

    Raises:
        UsageError: a class index of a table is not below `classes`.
    """
    check_classes(classes, detections, ground_truth)
    best = best_matches(detections, ground_truth, pixel)
    matched = best.iou >= iou if iou > 0 else best.ground_truth >= 0
    ignored = np.zeros(len(detections), bool)
    ignored[matched] = ground_truth.difficult[best.ground_truth[matched]]
    order = order_by_score(detections.score)
    true_positive = first_matches(best.ground_truth, order, matched & ~ignored)
    order = order_by_class(detections.class_id, order[~ignored[order]])
    totals = np.bincount(ground_truth.class_id[~ground_truth.difficult], minlength=classes)
    class_id, score = detections.class_id[order], detections.score[order]
    curves = class_curves(class_id, score, true_positive[order], totals)
    ap07, ap10 = np.full(classes, np.nan), np.full(classes, np.nan)
    for number in np.flatnonzero(totals).tolist():
        _, precision, recall = curves[number]
        ap07[number] = average_precision(precision, recall, ELEVEN)
        ap10[number] = average_precision(precision, recall)
    return VocFigures(ap07, ap10)


def _mean(ap: Array) -> float:
    known = ap[~np.isnan(ap)]
    return float(known.mean()) if len(known) else math.nan
