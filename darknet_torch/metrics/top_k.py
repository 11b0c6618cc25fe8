"""Top-k accuracy of a classifier: whether an image's class is among the k most probable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from darknet_torch.data.dataset import Array
from darknet_torch.errors import UsageError

__all__ = ["Accuracy", "evaluate"]


@dataclass(frozen=True, eq=False)
class Accuracy:
    """Accuracy over all images and of each class, in 0..1.

    Attributes:
        top: k -> share of the images whose class is among the k most probable.
        by_class: (C,) top-1 accuracy of each class, NaN for classes without images.
        images_by_class: (C,) int64, number of images of each class.
    """

    top: Mapping[int, float]
    by_class: Array
    images_by_class: Array

    @property
    def images(self) -> int:
        """Number of images."""
        return int(self.images_by_class.sum())

    @property
    def top1(self) -> float:
        """Top-1 accuracy over all images, also where `top` has no 1; 0 without images."""
        correct = np.rint(np.nansum(self.by_class * self.images_by_class))
        return float(correct / self.images) if self.images else 0.0


def evaluate(ranked: Array, labels: Array, classes: int, tops: Sequence[int] = (1, 5)) -> Accuracy:
    """Compute the accuracy.

    Args:
        ranked: (N, K) class indices of each image, the most probable first.
        labels: (N,) the true class indices.
        classes: number of classes.
        tops: each k; at most K.

    Raises:
        UsageError: a label is not below `classes`, or a k is not from 1 to K.
    """
    ranked, labels = np.asarray(ranked, np.int64), np.asarray(labels, np.int64)
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise UsageError(f"labels: {labels.min()} to {labels.max()}, {classes} classes")
    wrong = [k for k in tops if not 1 <= k <= ranked.shape[1]]
    if wrong:
        raise UsageError(f"top {wrong[0]}: must be from 1 to {ranked.shape[1]}")
    correct = ranked == labels[:, None]
    images = np.bincount(labels, minlength=classes)
    first = np.bincount(labels[correct[:, 0]], minlength=classes)
    by_class = np.divide(first, images, out=np.full(classes, np.nan), where=images > 0)
    top = {k: float(correct[:, :k].any(axis=1).mean()) if len(labels) else 0.0 for k in tops}
    return Accuracy(top, by_class, images)
