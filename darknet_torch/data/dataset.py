"""The parts of a data set: images, their ground truth, and the problems found while reading.

    Dataset = names of the classes + Samples + Problems;  Sample = an image + its GroundTruth

Everything is NumPy: no network is needed to look at a data set.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from darknet_torch.errors import DataError

__all__ = ["NOTES", "Array", "Dataset", "GroundTruth", "Problem", "Sample"]

Array = npt.NDArray[Any]
"""A NumPy array of any type; docstrings give shape and dtype."""

NOTES = frozenset({"heading", "negative picture", "other spelling"})
"""Kinds of problems that are no faults: worth a look, and correct as they stand."""


@dataclass(frozen=True, eq=False, kw_only=True)
class GroundTruth:
    """The annotated objects of one image.

    Attributes:
        xyxy: (N, 4) float64, left, top, right, bottom in pixels of the image.
        class_id: (N,) int64.
        difficult: (N,) bool, VOC's flag; default: none is.
        truncated: (N,) bool, VOC's flag; default: none is.
        crowd: (N,) bool, COCO's flag; default: none is.
        area: (N,) float64 in pixels, that of COCO's outline; default: that of the box.
        outlines: (N,) objects, `Outline`s that say which pixels are the object's, or None;
            default: none is known.

    Raises:
        DataError: shapes that do not fit one another.
    """

    xyxy: Array
    class_id: Array
    difficult: Array = field(default_factory=lambda: np.zeros(0, bool))
    truncated: Array = field(default_factory=lambda: np.zeros(0, bool))
    crowd: Array = field(default_factory=lambda: np.zeros(0, bool))
    area: Array = field(default_factory=lambda: np.zeros(0))
    outlines: Array = field(default_factory=lambda: np.zeros(0, object))

    def __post_init__(self) -> None:
        boxes = np.asarray(self.xyxy, np.float64).reshape(-1, 4)
        object.__setattr__(self, "xyxy", boxes)
        object.__setattr__(self, "class_id", np.asarray(self.class_id, np.int64))
        for name in ("difficult", "truncated", "crowd"):
            given = np.asarray(getattr(self, name), bool)
            object.__setattr__(self, name, given if len(given) else np.zeros(len(boxes), bool))
        if not len(self.area):
            object.__setattr__(self, "area", (boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
        if not len(self.outlines):
            object.__setattr__(self, "outlines", np.full(len(boxes), None))
        for name in ("class_id", "difficult", "truncated", "crowd", "area", "outlines"):
            if getattr(self, name).shape != (len(boxes),):
                raise DataError(f"{name}: shape {getattr(self, name).shape}, {len(boxes)} boxes")

    def __len__(self) -> int:
        return len(self.class_id)

    def __getitem__(self, index: Any) -> Self:
        """Return the objects that a mask, an array of indices or a slice selects."""
        columns = (column.name for column in fields(self))
        return replace(self, **{name: getattr(self, name)[index] for name in columns})

    @classmethod
    def empty(cls) -> Self:
        """Return the ground truth of an image without objects."""
        return cls(xyxy=np.zeros((0, 4)), class_id=np.zeros(0, np.int64))


@dataclass(frozen=True)
class Sample:
    """One image and its annotation.

    Attributes:
        path: the image file.
        width: in pixels, after turning the image as its EXIF orientation says.
        height: the same.
        ground_truth: the objects in it.
        image_id: COCO's number of the image, else its position in the list, from 1.
        label: class index of the whole image, in data sets for classification.
    """

    path: Path
    width: int
    height: int
    ground_truth: GroundTruth
    image_id: int
    label: int | None = None


@dataclass(frozen=True)
class Problem:
    """Something wrong in a data set.

    Attributes:
        kind: a key of `KINDS`, such as "zero area".
        where: `file:line`, or the file.
        what: the problem in words.
    """

    kind: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Dataset:
    """Images with their ground truth, the names of the classes, and the problems of the files.

    Attributes:
        names: of the classes.
        samples: the images; those that are missing or cannot be read are among the problems.
        problems: in the order in which they were found.
        category_ids: COCO's number of each class, where the file has such numbers.
        source: what was read, for messages.
        guesses: what was not given and had to be guessed, in words.
    """

    names: tuple[str, ...]
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...] = ()
    category_ids: tuple[int, ...] | None = None
    source: str = ""
    guesses: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def counts(self) -> dict[str, int]:
        """Number of problems of each kind that occurs."""
        return dict(sorted(Counter(problem.kind for problem in self.problems).items()))

    @property
    def faults(self) -> tuple[Problem, ...]:
        """The problems without those of the kinds in `NOTES`."""
        return tuple(problem for problem in self.problems if problem.kind not in NOTES)

    @property
    def has_outlines(self) -> bool:
        """Whether the pixels of any object are known."""
        return any(each is not None for s in self.samples for each in s.ground_truth.outlines)

    def take(self, index: Sequence[int] | slice) -> Self:
        """Return the data set with the samples of these indices only."""
        if isinstance(index, slice):
            return replace(self, samples=self.samples[index])
        return replace(self, samples=tuple(self.samples[number] for number in index))
