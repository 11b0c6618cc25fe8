"""Which class of a data set each class of a network is."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from darknet_torch.data import Dataset
from darknet_torch.data.dataset import Sample
from darknet_torch.errors import DataError, UsageError, warn
from darknet_torch.inference.detector import Detector
from darknet_torch.network import Runnable

__all__ = ["SHARED", "MatchedClasses", "asks_for_shared", "match_classes", "match_labels"]

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


def match_classes(
    detector: Detector, dataset: Dataset, *, shared: bool = False, remedy: str = ""
) -> MatchedClasses:
    """Match the classes of a network with those of a data set.

    Classes of one order and number are the same, whatever they are called; else names decide.

    Args:
        detector: the network, with the names of its classes.
        dataset: whose classes without names get the network's.
        shared: measure only the classes whose names both have.
        remedy: the end of the error's message, in place of that for who evaluates.

    Raises:
        DataError: images of a classifier, without boxes.
        UsageError: the network lacks an annotated class, or with `shared` all of them.
    """
    if dataset.samples and all(each.label is not None for each in dataset.samples):
        what = "the images have a class each and no boxes, as a classifier needs them"
        raise DataError(f"{dataset.source}: {what}; a detector is measured by boxes")
    ours = _names(detector.names, detector.class_count)
    dataset = _with_names(ours, dataset)
    if shared:
        return _by_name(ours, _only_shared(ours, dataset))
    theirs = dataset.names
    if len(ours) == len(theirs):
        if ours == theirs or not detector.names:
            return MatchedClasses(dataset, None)
        if set(ours) == set(theirs) and len(set(ours)) == len(ours):
            return _by_name(ours, dataset)
        hint = "" if remedy else f" (--classes {SHARED}: names)"
        _warn_of_names(ours, theirs, dataset.source, hint)
        return MatchedClasses(dataset, None)
    return _by_name(ours, _without_unknown(detector, ours, dataset, remedy))


def match_labels(network: Runnable, dataset: Dataset, *, remedy: str = "") -> MatchedClasses:
    """Match the classes of a classifier with those of images that have a class each.

    Classes of one number may have quite other names, such as WordNet's numbers beside words.

    Args:
        network: the classifier.
        dataset: of whose images those without a class are left out.
        remedy: see `match_classes`.

    Raises:
        DataError: no image has a class.
        UsageError: the network lacks a class that an image has.
    """
    dataset = _labelled(dataset)
    final = network.plan[network.plan.final]
    ours = _names(network.names, final.layer.truth_size(final.shape))
    dataset = _with_names(ours, dataset)
    theirs, common = dataset.names, set(ours) & set(dataset.names)
    if len(ours) != len(theirs):
        _check_labels(network, ours, dataset, remedy)
    elif not network.names or len(common) < len(ours):
        if network.names and common:
            _warn_of_names(ours, theirs, dataset.source)
        return MatchedClasses(dataset, None)
    return _by_name(ours, dataset)


def _labelled(dataset: Dataset) -> Dataset:
    labelled = [n for n, sample in enumerate(dataset.samples) if sample.label is not None]
    if not labelled:
        raise DataError(
            f"{dataset.source}: a classifier needs a class for each image: a folder for each"
            " class, or names that stand in the paths (format: paths)"
        )
    return dataset.take(labelled)


def _check_labels(network: Runnable, ours: Sequence[str], dataset: Dataset, remedy: str) -> None:
    labels = sorted({each.label for each in dataset.samples if each.label is not None})
    unknown = [dataset.names[label] for label in labels if dataset.names[label] not in ours]
    if unknown:
        known = f"and none is called {unknown[0]!r}" if network.names else "unnamed"
        remedy = remedy or "names= (--names) of the network names its classes"
        raise UsageError(
            f"{dataset.source or 'the data set'}: {len(dataset.names)} classes, the network has"
            f" {len(ours)}, {known}; {remedy}"
        )


def _with_names(ours: Sequence[str], dataset: Dataset) -> Dataset:
    """Return the data set with the network's class names, if its own are only numbers."""
    if dataset.names != tuple(map(str, range(len(dataset.names)))):
        return dataset
    return replace(dataset, names=(*ours, *dataset.names[len(ours) :]))


def _by_name(ours: Sequence[str], dataset: Dataset) -> MatchedClasses:
    numbers = {name: number for number, name in reversed(list(enumerate(dataset.names)))}
    return MatchedClasses(dataset, np.array([numbers.get(name, -1) for name in ours]))


def _names(names: Sequence[str], count: int) -> tuple[str, ...]:
    """Return a name for each class of the network; its number where there are fewer names."""
    names = names[:count]
    return (*names, *map(str, range(len(names), count)))


def _without_unknown(
    detector: Detector, ours: Sequence[str], dataset: Dataset, remedy: str
) -> Dataset:
    """Leave out classes that the network lacks and that have no ground truth; refuse others."""
    theirs = dataset.names
    annotated = {int(n) for sample in dataset.samples for n in sample.ground_truth.class_id}
    unknown = [number for number, name in enumerate(theirs) if name not in ours]
    missing = [theirs[number] for number in unknown if number in annotated]
    if missing or not theirs:
        both = len(theirs) - len(unknown)
        remedy = remedy or f"--classes {SHARED} measures those of both ({both})"
        known = f"and none is called {missing[0]!r}" if detector.names and missing else "unnamed"
        raise UsageError(
            f"{dataset.source or 'the data set'}: {len(theirs)} classes, the network has"
            f" {detector.class_count}, {known}; {remedy}"
        )
    if unknown:
        some = ", ".join(theirs[number] for number in unknown[:5])
        what = f"{len(unknown)} of {len(theirs)} classes have no box, and the network lacks them"
        warn(f"{dataset.source or 'the data set'}: {what}; left out: {some}")
    return _with_classes(dataset, [n for n in range(len(theirs)) if n not in unknown])


def _only_shared(ours: Sequence[str], dataset: Dataset) -> Dataset:
    kept = [number for number, name in enumerate(dataset.names) if name in ours]
    if not kept:
        raise UsageError(
            f"{dataset.source or 'the data set'}: none of its {len(dataset.names)} classes"
            f" ({', '.join(dataset.names[:5])} ...) is among the {len(set(ours))} of the network"
            f" ({', '.join(ours[:5])} ...)"
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


def _warn_of_names(ours: Sequence[str], theirs: Sequence[str], source: str, hint: str = "") -> None:
    """Warn once: of the first class with two names, and how many others there are."""
    pairs = list(enumerate(zip(ours, theirs, strict=False)))
    differ = [(number, mine, other) for number, (mine, other) in pairs if mine != other]
    for number, mine, other in differ[:1]:
        more = f", and so for {len(differ) - 1} others" if differ[1:] else ""
        warn(
            f"class {number} is {mine!r} in the network, {other!r} in {source or 'the data'}{more};"
            f" numbers decide{hint}"
        )
