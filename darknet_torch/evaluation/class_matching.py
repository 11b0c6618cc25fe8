"""Which class of a data set each class of a network is."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from darknet_torch.data import Dataset
from darknet_torch.errors import UsageError, warn
from darknet_torch.inference.detector import Detector

__all__ = ["class_numbers", "named_classes"]


def named_classes(detector: Detector, dataset: Dataset) -> Dataset:
    """Return the data set with the network's class names, if its own are only numbers."""
    count, known = detector.class_count, len(dataset.names)
    if known > count or dataset.names != tuple(map(str, range(known))):
        return dataset
    return replace(dataset, names=detector.names or tuple(map(str, range(count))))


def class_numbers(detector: Detector, dataset: Dataset) -> npt.NDArray[np.int64] | None:
    """Return the data set's class of each class of the network, -1 for none; None: all the same.

    Classes of one order and number are the same, whatever they are called; else names decide.
    """
    theirs, ours = dataset.names, detector.names
    if detector.class_count == len(theirs):
        if ours == theirs or not ours:
            return None
        if set(ours) == set(theirs) and len(set(ours)) == len(ours):
            return np.array([theirs.index(name) for name in ours])
        _warn_of_names(ours, theirs, dataset.source)
        return None
    missing = [name for name in theirs if name not in ours]
    if missing or not theirs:
        raise UsageError(
            f"{dataset.source or 'the data set'}: {len(theirs)} classes, the network has"
            f" {detector.class_count}, and none is called {missing[0] if missing else '?'!r}"
        )
    numbers = {name: number for number, name in enumerate(theirs)}
    return np.array([numbers.get(name, -1) for name in ours])


def _warn_of_names(ours: Sequence[str], theirs: Sequence[str], source: str) -> None:
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=False)):
        if mine != other:
            warn(
                f"class {number} is {mine!r} in the network, {other!r} in {source or 'the data'};"
                " numbers decide"
            )
            return
