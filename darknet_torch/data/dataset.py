"""The parts of a data set: pictures, the objects that somebody marked in them, and what is wrong.

    Dataset = names of the classes + Samples + Problems;  Sample = a picture + its Truth

Everything is numpy: no network is needed to look at a data set.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from darknet_torch.errors import DataError

__all__ = ["NOTES", "Array", "Dataset", "Problem", "Sample", "Truth"]

Array = npt.NDArray[Any]
"""A NumPy array of any type; docstrings give shape and dtype."""

NOTES = frozenset({"negative picture", "other spelling"})
"""Kinds of problems that are no faults: worth a look, and right as they stand."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Truth:
    """The objects marked in one picture.

    xyxy: (N, 4) float64, left, top, right, bottom in pixels; class_id: (N,) int64.
    difficult, truncated (of VOC), crowd (of COCO): (N,) bool, default none.
    area: (N,) float64 pixels, default that of the box (COCO's is that of the outline).
    Raises DataError if the shapes do not fit one another.
    """

    xyxy: Array
    class_id: Array
    difficult: Array = field(default_factory=lambda: np.zeros(0, bool))
    truncated: Array = field(default_factory=lambda: np.zeros(0, bool))
    crowd: Array = field(default_factory=lambda: np.zeros(0, bool))
    area: Array = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        boxes = np.asarray(self.xyxy, np.float64).reshape(-1, 4)
        object.__setattr__(self, "xyxy", boxes)
        object.__setattr__(self, "class_id", np.asarray(self.class_id, np.int64))
        for name in ("difficult", "truncated", "crowd"):
            given = np.asarray(getattr(self, name), bool)
            object.__setattr__(self, name, given if len(given) else np.zeros(len(boxes), bool))
        if not len(self.area):
            object.__setattr__(self, "area", (boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
        for name in ("class_id", "difficult", "truncated", "crowd", "area"):
            if getattr(self, name).shape != (len(boxes),):
                raise DataError(f"{name}: shape {getattr(self, name).shape}, {len(boxes)} boxes")

    def __len__(self) -> int:
        return len(self.class_id)

    def __getitem__(self, index: Any) -> Self:
        """Those that a mask, an array of numbers or a slice selects."""
        columns = ("xyxy", "class_id", "difficult", "truncated", "crowd", "area")
        return replace(self, **{name: getattr(self, name)[index] for name in columns})

    @classmethod
    def empty(cls) -> Self:
        """Nothing marked."""
        return cls(xyxy=np.zeros((0, 4)), class_id=np.zeros(0, np.int64))


@dataclass(frozen=True)
class Sample:
    """One picture of width x height pixels (0 where nothing tells), and what is marked in it.

    image_id: COCO's number of the picture, else its place in the list, from 1.
    label: the class of the whole picture, in data sets for classification.
    """

    path: Path
    width: int
    height: int
    truth: Truth
    image_id: int
    label: int | None = None


@dataclass(frozen=True)
class Problem:
    """Something wrong in a data set: kind, such as "zero area", and where: `file:line`."""

    kind: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Dataset:
    """Pictures with their truth, the names of the classes, and what was found wrong on reading.

    Pictures that are missing or cannot be read are among the problems, not among the samples.
    category_ids: COCO's number of each class, where the file has such numbers.
    """

    names: tuple[str, ...]
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...] = ()
    category_ids: tuple[int, ...] | None = None
    source: str = ""

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def counts(self) -> dict[str, int]:
        """How many problems of each kind there are."""
        return dict(sorted(Counter(problem.kind for problem in self.problems).items()))

    @property
    def faults(self) -> tuple[Problem, ...]:
        """The problems without those that are only worth a look."""
        return tuple(problem for problem in self.problems if problem.kind not in NOTES)

    def take(self, index: Sequence[int] | slice) -> Self:
        """Only some of the pictures."""
        if isinstance(index, slice):
            return replace(self, samples=self.samples[index])
        return replace(self, samples=tuple(self.samples[number] for number in index))
