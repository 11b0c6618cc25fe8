"""The classes of a data set: given with it, or collected while it is read."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from darknet_torch.data.dataset import Array, Sample
from darknet_torch.data.messages import shown
from darknet_torch.errors import DataError
from darknet_torch.safety.text import printable

__all__ = ["MAX_CLASSES", "Classes", "numbered"]

MAX_CLASSES = 1 << 16
"""A class index beyond this is a mistake; the largest known network has 9418 classes."""


def numbered(classes: int, where: str = "") -> tuple[str, ...]:
    """Return the names "0", "1", ... for classes that have only numbers."""
    if not 0 <= classes <= MAX_CLASSES:
        raise DataError(f"{where}: {shown(classes)} classes: 0 to {MAX_CLASSES} expected")
    return tuple(map(str, range(classes)))


class Classes:
    """Names and class indices. Without given names, every name and index that occurs is a class.

    Names are made printable: bytes that are no UTF-8 become escapes.
    """

    def __init__(self, names: Sequence[str] | None = None) -> None:
        self.names = None if names is None else tuple(map(printable, names))
        self._ids: dict[str, int] = {}
        for number, name in enumerate(self.names or ()):
            self._ids.setdefault(name, number)
        self._new = count()
        self._by_name = False
        self.larger_set: tuple[str, ...] = ()
        """Names that are the classes, if those that occur are among them and none are given."""

    def class_id(self, name: str) -> int | None:
        """Return the class of that name, None if there is none; called from several threads."""
        self._by_name, name = True, printable(name)
        if self.names is not None:
            return self._ids.get(name)
        return self._ids.setdefault(name, next(self._new))

    def has(self, class_id: int) -> bool:
        """Return whether there is a class of that index."""
        return 0 <= class_id < (MAX_CLASSES if self.names is None else len(self.names))

    def finish(self, samples: Sequence[Sample]) -> tuple[tuple[str, ...], tuple[Sample, ...]]:
        """Return the names in their final order, and the samples with the indices of that order."""
        if self.names is not None:
            return self.names, tuple(samples)
        if not self._by_name:
            return numbered(1 + max(map(_largest, samples), default=-1)), tuple(samples)
        names = self._ordered()
        new_ids = np.zeros(1 + max(self._ids.values(), default=0), np.int64)
        for number, name in enumerate(names):
            if name in self._ids:
                new_ids[self._ids[name]] = number
        return names, tuple(_renumbered(sample, new_ids) for sample in samples)

    def _ordered(self) -> tuple[str, ...]:
        whole = self.larger_set
        return whole if set(self._ids) <= set(whole) else tuple(sorted(self._ids))


def _largest(sample: Sample) -> int:
    label = -1 if sample.label is None else sample.label
    return max(label, int(sample.ground_truth.class_id.max(initial=-1)))


def _renumbered(sample: Sample, new_ids: Array) -> Sample:
    ground_truth = sample.ground_truth
    ground_truth = replace(ground_truth, class_id=new_ids[ground_truth.class_id])
    label = None if sample.label is None else int(new_ids[sample.label])
    return replace(sample, ground_truth=ground_truth, label=label)
