"""The figures of the PASCAL VOC challenges: 2007's eleven points, and the area since 2010.

As in Darknet's, a detection means the truth of its class that it overlaps most; here by at least
the threshold, difficult truths compete with the others, and what means one of them does not count.
The mean is over the classes that have truths.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from darknet_torch.metrics.curves import average_precision, curve
from darknet_torch.metrics.matching import by_class, by_score, first_claims, nearest
from darknet_torch.metrics.tables import Found, Marked, check_classes

__all__ = ["Voc", "evaluate"]

Array = npt.NDArray[Any]
ELEVEN = np.arange(0.0, 1.1, 0.1)
"""The recalls as the challenge's program steps through them: the fourth is a hair above 0.3."""


@dataclass(frozen=True, eq=False)
class Voc:
    """AP of each class, (C,) in 0..1, NaN for classes without truths, by both rules."""

    ap07: Array
    ap10: Array

    @property
    def map07(self) -> float:
        """Mean over the classes that have truths, eleven points."""
        return _mean(self.ap07)

    @property
    def map10(self) -> float:
        """Mean over the classes that have truths, area."""
        return _mean(self.ap10)


def evaluate(
    found: Found, marked: Marked, classes: int, iou: float = 0.5, *, pixel: float = 0.0
) -> Voc:
    """Compute both figures.

    iou: an overlap must be as large; pixel: 1 where right and bottom name the last pixel inside
    the box, as the challenge's files do; 0 where they are edges, as in `Detections`.
    """
    check_classes(classes, found, marked)
    pairs = nearest(found, marked, pixel)
    meant = pairs.iou >= iou if iou > 0 else pairs.truth >= 0
    hard = np.zeros(len(found), bool)
    hard[meant] = marked.difficult[pairs.truth[meant]]
    hit = first_claims(pairs.truth, by_score(found.score), meant & ~hard)
    truths = np.bincount(marked.class_id[~marked.difficult], minlength=classes)
    order = by_score(found.score)
    order = by_class(found.class_id, order[~hard[order]])
    ends = np.cumsum(np.bincount(found.class_id[order], minlength=classes))[:-1]
    ap07, ap10 = np.full(classes, np.nan), np.full(classes, np.nan)
    for number, rows in enumerate(np.split(order, ends)):
        if truths[number]:
            one = curve(found.score[rows], hit[rows], int(truths[number]))
            ap07[number] = average_precision(one.precision, one.recall, ELEVEN)
            ap10[number] = average_precision(one.precision, one.recall)
    return Voc(ap07, ap10)


def _mean(ap: Array) -> float:
    known = ap[~np.isnan(ap)]
    return float(known.mean()) if len(known) else 0.0
