"""Which class of a data set each class of a network is."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from darknet_torch.data import Dataset
from darknet_torch.data.dataset import Sample
from darknet_torch.errors import UsageError, warn
from darknet_torch.inference.detector import Detector

__all__ = ["SHARED", "MatchedClasses", "asks_for_shared", "match_classes"]

SHARED = "shared"
"""Word for the classes that network and data set both have."""


class MatchedClasses(NamedTuple):
    """What is measured.

    Attributes:
        dataset: with the classes that are measured.
        numbers: the data set's class of each class of the network, -1 for none; None: the same.
    """

    dataset: Dataset
    numbers: npt.NDArray[np.int64] | None


def asks_for_shared(classes: Sequence[str | int] | None, names: Sequence[str]) -> bool:
    """Return whether `classes` is the word "shared", alone, and not the name of a class."""
    word = classes if isinstance(classes, str) or classes is None else [*classes]
    return word in (SHARED, [SHARED]) and SHARED not in names


def match_classes(detector: Detector, dataset: Dataset, *, shared: bool = False) -> MatchedClasses:
    """Match the classes of a network with those of a data set.

    Classes of one order and number are the same, whatever they are called; else names decide.

    Args:
        detector: the network, with the names of its classes.
        dataset: whose classes without names get the network's.
        shared: measure only the classes whose names both have.

    Raises:
        UsageError: the network lacks an annotated class, or with `shared` all of them.
    """
    dataset = _with_names(detector, dataset)
    if shared:
        return _by_name(detector, _only_shared(detector, dataset))
    ours, theirs = _names(detector), dataset.names
    if len(ours) == len(theirs):
        if ours == theirs or not detector.names:
            return MatchedClasses(dataset, None)
        if set(ours) == set(theirs) and len(set(ours)) == len(ours):
            return _by_name(detector, dataset)
        _warn_of_names(ours, theirs, dataset.source)
        return MatchedClasses(dataset, None)
    return _by_name(detector, _without_unknown(detector, dataset))


def _with_names(detector: Detector, dataset: Dataset) -> Dataset:
    """Return the data set with the network's class names, if its own are only numbers."""
    count, known = detector.class_count, len(dataset.names)
    if dataset.names != tuple(map(str, range(known))):
        return dataset
    return replace(dataset, names=(*_names(detector), *dataset.names[count:]))


def _by_name(detector: Detector, dataset: Dataset) -> MatchedClasses:
    numbers = {name: number for number, name in reversed(list(enumerate(dataset.names)))}
    return MatchedClasses(dataset, np.array([numbers.get(name, -1) for name in _names(detector)]))


def _names(detector: Detector) -> tuple[str, ...]:
    """Return a name for each class of the network; its number where there are fewer names."""
    names, count = detector.names[: detector.class_count], detector.class_count
    return (*names, *map(str, range(len(names), count)))


def _without_unknown(detector: Detector, dataset: Dataset) -> Dataset:
    """Leave out classes that the network lacks and that have no ground truth; refuse others."""
    ours, theirs = set(_names(detector)), dataset.names
    annotated = {int(n) for sample in dataset.samples for n in sample.ground_truth.class_id}
    unknown = [number for number, name in enumerate(theirs) if name not in ours]
    missing = [theirs[number] for number in unknown if number in annotated]
    if missing or not theirs:
        both = len(theirs) - len(unknown)
        known = f"and none is called {missing[0]!r}" if detector.names and missing else "unnamed"
        raise UsageError(
            f"{dataset.source or 'the data set'}: {len(theirs)} classes, the network has"
            f" {detector.class_count}, {known}; --classes {SHARED} measures those of both ({both})"
        )
    if unknown:
        some = ", ".join(theirs[number] for number in unknown[:5])
        what = f"{len(unknown)} of {len(theirs)} classes have no box, and the network lacks them"
        warn(f"{dataset.source or 'the data set'}: {what}; left out: {some}")
    return _with_classes(dataset, [n for n in range(len(theirs)) if n not in unknown])


def _only_shared(detector: Detector, dataset: Dataset) -> Dataset:
    ours = set(_names(detector))
    kept = [number for number, name in enumerate(dataset.names) if name in ours]
    if not kept:
        raise UsageError(
            f"{dataset.source or 'the data set'}: none of its {len(dataset.names)} classes"
            f" ({', '.join(dataset.names[:5])} ...) is among the {len(ours)} of the network"
            f" ({', '.join(_names(detector)[:5])} ...)"
        )
    return _with_classes(dataset, kept)


def _with_classes(dataset: Dataset, kept: Sequence[int]) -> Dataset:
    """Return the data set with some of its classes, numbered anew, and without other objects."""
    if len(kept) == len(dataset.names):
        return dataset
    numbers = np.full(len(dataset.names), -1)
    numbers[list(kept)] = np.arange(len(kept))

    def sample(each: Sample) -> Sample:
        objects = each.ground_truth[numbers[each.ground_truth.class_id] >= 0]
        objects = replace(objects, class_id=numbers[objects.class_id])
        return replace(each, ground_truth=objects)

    ids = dataset.category_ids
    return replace(
        dataset,
        names=tuple(dataset.names[number] for number in kept),
        samples=tuple(map(sample, dataset.samples)),
        category_ids=None if ids is None else tuple(ids[number] for number in kept),
    )


def _warn_of_names(ours: Sequence[str], theirs: Sequence[str], source: str) -> None:
    """Warn once: of the first class with two names, and how many others there are."""
    pairs = list(enumerate(zip(ours, theirs, strict=False)))
    differ = [(number, mine, other) for number, (mine, other) in pairs if mine != other]
    for number, mine, other in differ[:1]:
        more = f", and so for {len(differ) - 1} others" if differ[1:] else ""
        warn(
            f"class {number} is {mine!r} in the network, {other!r} in {source or 'the data'}{more};"
            f" numbers decide (--classes {SHARED}: names)"
        )
