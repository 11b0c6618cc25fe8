"""The classes of a data set: given with it, or found while it is read."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from darknet_torch.data.dataset import Sample
from darknet_torch.data.messages import plain, shown
from darknet_torch.errors import DataError
from darknet_torch.files import cfg_folder
from darknet_torch.parsing.parser import read_names

__all__ = ["MAX_CLASSES", "Classes", "numbered"]

MAX_CLASSES = 1 << 16
"""A class number beyond this is a mistake; the largest known network has 9418 classes."""


def numbered(number: int, where: str = "") -> tuple[str, ...]:
    """Names for classes that have only numbers."""
    if not 0 <= number <= MAX_CLASSES:
        raise DataError(f"{where}: {shown(number)} classes: 0 to {MAX_CLASSES} can be")
    return tuple(map(str, range(number)))


class Classes:
    """Names -> numbers. Without given names, every name and number that comes up is a class.

    Names can be printed: bytes that are no UTF-8 are shown as escapes.
    """

    def __init__(self, names: Sequence[str] | None = None) -> None:
        self.names = None if names is None else tuple(map(plain, names))
        self._ids: dict[str, int] = {}
        for number, name in enumerate(self.names or ()):
            self._ids.setdefault(name, number)
        self._new = count()
        self._by_name = False

    def number(self, name: str) -> int | None:
        """The class of that name, None if there is no such; pictures are read in threads."""
        self._by_name, name = True, plain(name)
        if self.names is not None:
            return self._ids.get(name)
        return self._ids.setdefault(name, next(self._new))

    def has(self, number: int) -> bool:
        """Whether that is the number of a class."""
        return 0 <= number < (MAX_CLASSES if self.names is None else len(self.names))

    def final(self, samples: Sequence[Sample]) -> tuple[tuple[str, ...], tuple[Sample, ...]]:
        """The names and the samples with the numbers that these names have."""
        if self.names is not None:
            return self.names, tuple(samples)
        if not self._by_name:
            return numbered(1 + max(map(_largest, samples), default=-1)), tuple(samples)
        names = _ordered(self._ids)
        place = np.zeros(1 + max(self._ids.values(), default=0), np.int64)
        for number, name in enumerate(names):
            if name in self._ids:
                place[self._ids[name]] = number
        return names, tuple(_renumbered(sample, place) for sample in samples)


def _largest(sample: Sample) -> int:
    return int(sample.truth.class_id.max(initial=-1))


def _ordered(names: Iterable[str]) -> tuple[str, ...]:
    """VOC's 20 names if these are among them: a part of VOC need not have every class."""
    voc = read_names(cfg_folder() / "voc.names")
    return voc if set(names) <= set(voc) else tuple(sorted(names))


def _renumbered(sample: Sample, place: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Sample:
    truth = replace(sample.truth, class_id=place[sample.truth.class_id])
    label = None if sample.label is None else int(place[sample.label])
    return replace(sample, truth=truth, label=label)
