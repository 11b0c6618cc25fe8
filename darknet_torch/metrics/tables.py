"""The objects of all pictures in columns: what was found, and what is marked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from darknet_torch.data.dataset import Truth
from darknet_torch.errors import UsageError

__all__ = ["Found", "Marked", "areas", "check_classes"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Found:
    """Detections, a row each; those of one picture stand in the order in which it lists them.

    picture, class_id: (D,) int64; score: (D,) float64; xyxy: (D, 4) float64 in pixels.
    Raises UsageError for shapes that do not fit one another, and numbers that are not finite.
    """

    picture: Array
    class_id: Array
    score: Array
    xyxy: Array

    def __post_init__(self) -> None:
        _set(self, {"picture": np.int64, "class_id": np.int64, "score": np.float64})
        if not (np.isfinite(self.score).all() and np.isfinite(self.xyxy).all()):
            raise UsageError("score, xyxy: a number is infinite or not a number")

    def __len__(self) -> int:
        return len(self.picture)

    def __getitem__(self, index: Any) -> Self:
        """Those that a mask, an array of numbers or a slice selects."""
        return type(self)(
            self.picture[index], self.class_id[index], self.score[index], self.xyxy[index]
        )

    @classmethod
    def of_rows(cls, rows: Array) -> Self:
        """From a matrix (D, 7): picture, class, score, left, top, right, bottom."""
        rows = np.asarray(rows, np.float64).reshape(-1, 7)
        return cls(rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3:])

    def rows(self) -> Array:
        """The matrix (D, 7) float64 that `of_rows` takes."""
        columns = (self.picture, self.class_id, self.score, self.xyxy)
        return np.column_stack(columns).astype(np.float64, copy=False)


@dataclass(frozen=True, eq=False)
class Marked:
    """The truth, a row for each object.

    picture, class_id: (T,) int64; xyxy: (T, 4) float64 in pixels; difficult, crowd: (T,) bool;
    area: (T,) float64 pixels, of COCO's outline or the box.
    """

    picture: Array
    class_id: Array
    xyxy: Array
    difficult: Array
    crowd: Array
    area: Array

    def __post_init__(self) -> None:
        kinds = {"picture": np.int64, "class_id": np.int64, "difficult": bool, "crowd": bool}
        _set(self, {**kinds, "area": np.float64})

    def __len__(self) -> int:
        return len(self.picture)

    def __getitem__(self, index: Any) -> Self:
        """Those that a mask, an array of numbers or a slice selects."""
        names = ("picture", "class_id", "xyxy", "difficult", "crowd", "area")
        return type(self)(*(getattr(self, name)[index] for name in names))

    @classmethod
    def of(cls, truths: Iterable[Truth]) -> Self:
        """From the truth of picture 0, 1, 2, ..."""
        every = list(truths) or [Truth.empty()]
        numbers = [np.full(len(truth), number) for number, truth in enumerate(every)]
        names = ("class_id", "xyxy", "difficult", "crowd", "area")
        columns = [np.concatenate([getattr(truth, name) for truth in every]) for name in names]
        return cls(np.concatenate(numbers), *columns)


def areas(xyxy: Array) -> Array:
    """Areas (...) of boxes (..., 4)."""
    area: Array = (xyxy[..., 2:] - xyxy[..., :2]).prod(axis=-1)
    return area


def check_classes(classes: int, *tables: Found | Marked) -> None:
    """Raise UsageError where a table has a class that there is not."""
    for table in tables:
        most = int(table.class_id.max(initial=-1))
        if most >= classes:
            raise UsageError(f"class_id: {most}, but there are {classes} classes")


def _set(table: Any, kinds: dict[str, Any]) -> None:
    """Give the columns their types and check their lengths."""
    boxes = np.asarray(table.xyxy, np.float64).reshape(-1, 4)
    object.__setattr__(table, "xyxy", boxes)
    for name, kind in kinds.items():
        column = np.asarray(getattr(table, name)).astype(kind)
        object.__setattr__(table, name, column)
        if column.shape != (len(boxes),):
            raise UsageError(f"{name}: shape ({len(boxes)},) wanted, not {column.shape}")
    _must_not_be_negative(table, ("picture", "class_id"))


def _must_not_be_negative(table: Any, names: Sequence[str]) -> None:
    for name in names:
        column = getattr(table, name)
        if len(column) and column.min() < 0:
            raise UsageError(f"{name}: {column.min()} is below 0")
