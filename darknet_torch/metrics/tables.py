"""Detections and ground truths of all images in columns, a row for each object."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from darknet_torch.data.dataset import Array, GroundTruth
from darknet_torch.errors import UsageError

__all__ = ["DetectionTable", "GroundTruthTable", "areas", "check_classes"]


@dataclass(frozen=True, eq=False)
class DetectionTable:
    """Detections of all images; those of one image stay in the order in which it lists them.

    Attributes:
        image: (D,) int64, the image's index in the data set.
        class_id: (D,) int64.
        score: (D,) float64.
        xyxy: (D, 4) float64, left, top, right, bottom in pixels.

    Raises:
        UsageError: shapes that do not fit one another, negative indices, numbers that are not
            finite.
    """

    image: Array
    class_id: Array
    score: Array
    xyxy: Array

    def __post_init__(self) -> None:
        _set_columns(self, {"image": np.int64, "class_id": np.int64, "score": np.float64})
        if not (np.isfinite(self.score).all() and np.isfinite(self.xyxy).all()):
            raise UsageError("score, xyxy: finite numbers expected, not NaN or infinity")

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, index: Any) -> Self:
        """Return the rows that a mask, an array of indices or a slice selects."""
        return type(self)(
            self.image[index], self.class_id[index], self.score[index], self.xyxy[index]
        )

    def to_rows(self) -> Array:
        """Return a matrix (D, 7) float64: image, class, score, left, top, right, bottom."""
        columns = (self.image, self.class_id, self.score, self.xyxy)
        return np.column_stack(columns).astype(np.float64, copy=False)


@dataclass(frozen=True, eq=False)
class GroundTruthTable:
    """Ground truths of all images.

    Attributes:
        image: (T,) int64, the image's index in the data set.
        class_id: (T,) int64.
        xyxy: (T, 4) float64, left, top, right, bottom in pixels.
        difficult: (T,) bool, VOC's flag.
        crowd: (T,) bool, COCO's flag.
        area: (T,) float64 in pixels, of COCO's outline or of the box.

    Raises:
        UsageError: shapes that do not fit one another, or negative indices.
    """

    image: Array
    class_id: Array
    xyxy: Array
    difficult: Array
    crowd: Array
    area: Array

    def __post_init__(self) -> None:
        types = {"image": np.int64, "class_id": np.int64, "difficult": bool, "crowd": bool}
        _set_columns(self, {**types, "area": np.float64})

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, index: Any) -> Self:
        """Return the rows that a mask, an array of indices or a slice selects."""
        names = ("image", "class_id", "xyxy", "difficult", "crowd", "area")
        return type(self)(*(getattr(self, name)[index] for name in names))

    @classmethod
    def from_images(cls, ground_truths: Iterable[GroundTruth]) -> Self:
        """Build the table from the ground truth of image 0, 1, 2, ..."""
        parts = list(ground_truths) or [GroundTruth.empty()]
        image = np.concatenate([np.full(len(part), index) for index, part in enumerate(parts)])
        names = ("class_id", "xyxy", "difficult", "crowd", "area")
        return cls(image, *(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def areas(xyxy: Array) -> Array:
    """Return the areas (...) of boxes (..., 4)."""
    area: Array = (xyxy[..., 2:] - xyxy[..., :2]).prod(axis=-1)
    return area


def check_classes(classes: int, *tables: DetectionTable | GroundTruthTable) -> None:
    """Raise UsageError where a class index of a table is not below `classes`."""
    for table in tables:
        largest = int(table.class_id.max(initial=-1))
        if largest >= classes:
            raise UsageError(f"class_id: {largest}, but there are {classes} classes")


def _set_columns(table: Any, types: dict[str, Any]) -> None:
    """Give the columns their types and check their lengths."""
    boxes = np.asarray(table.xyxy, np.float64).reshape(-1, 4)
    object.__setattr__(table, "xyxy", boxes)
    for name, dtype in types.items():
        column = np.asarray(getattr(table, name)).astype(dtype)
        object.__setattr__(table, name, column)
        if column.shape != (len(boxes),):
            raise UsageError(f"{name}: shape ({len(boxes)},) expected, not {column.shape}")
    _check_not_negative(table, ("image", "class_id"))


def _check_not_negative(table: Any, names: Sequence[str]) -> None:
    for name in names:
        column = getattr(table, name)
        if len(column) and column.min() < 0:
            raise UsageError(f"{name}: {column.min()} is below 0")
