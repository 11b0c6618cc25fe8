"""How often a classifier is right: the class itself, or among its best few."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from darknet_torch.errors import UsageError

__all__ = ["Accuracy", "evaluate"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Accuracy:
    """Of all pictures and of each class: shares in 0..1.

    top: k -> share of pictures whose class is among the best k; by_class: (C,) of the best one,
    NaN for classes without pictures; truths: (C,) pictures of each class.
    """

    top: Mapping[int, float]
    by_class: Array
    truths: Array

    @property
    def pictures(self) -> int:
        """How many pictures there are."""
        return int(self.truths.sum())


def evaluate(ranked: Array, labels: Array, classes: int, tops: Sequence[int] = (1, 5)) -> Accuracy:
    """Count.

    ranked: (N, K) classes of each picture, the most probable first; labels: (N,) the true ones;
    tops: each at most K.
    """
    ranked, labels = np.asarray(ranked, np.int64), np.asarray(labels, np.int64)
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise UsageError(f"labels: {labels.min()} to {labels.max()}, {classes} classes")
    wrong = [k for k in tops if not 1 <= k <= ranked.shape[1]]
    if wrong:
        raise UsageError(f"top {wrong[0]}: must be from 1 to {ranked.shape[1]}")
    right = ranked == labels[:, None]
    truths = np.bincount(labels, minlength=classes)
    hits = np.bincount(labels[right[:, 0]], minlength=classes)
    by_class = np.divide(hits, truths, out=np.full(classes, np.nan), where=truths > 0)
    shares = {k: float(right[:, :k].any(axis=1).mean()) if len(labels) else 0.0 for k in tops}
    return Accuracy(shares, by_class, truths)
