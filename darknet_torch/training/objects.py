"""The objects of one image on their way into a batch: moved with the image, and left out.

Source: Darknet's data.c (correct_boxes, fill_truth_detection, fill_truth_region).
"""

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np

from darknet_torch.data.dataset import Array, Sample

__all__ = ["ImageObjects"]

MOST_OBJECTS = 1 << 32
"""More than an image has."""


@dataclass(frozen=True, eq=False)
class ImageObjects:
    """Objects of an image.

    Attributes:
        xyxy: (N, 4) float64, left, top, right, bottom in fractions of the image.
        class_id: (N,) int64.
        has_box: (N,) bool, False where only the class of the image is known.
        object_id: (N,) int64, which object of the data set each is, see `Truth.object_id`.
    """

    xyxy: Array
    class_id: Array
    has_box: Array
    object_id: Array

    @classmethod
    def of(
        cls, sample: Sample, index: int = 0, *, difficult: bool = False, crowd: bool = False
    ) -> Self:
        """Return the objects of a sample; of an image with a class only, that class without a box.

        Args:
            sample: an image of a data set.
            index: of the image, for `object_id`.
            difficult: whether objects count that VOC calls difficult; Darknet leaves them out.
            crowd: whether objects count that COCO calls a crowd.
        """
        ids = index * MOST_OBJECTS + np.arange(max(len(sample.ground_truth), 1))
        if sample.label is not None:
            return cls(np.zeros((1, 4)), np.array([sample.label]), np.zeros(1, bool), ids[:1])
        objects = sample.ground_truth
        counted = (difficult | ~objects.difficult) & (crowd | ~objects.crowd)
        objects, ids = objects[counted], ids[: len(objects)][counted]
        size = (sample.width, sample.height, sample.width, sample.height)
        # Darknet's mark for a class without a box is a centre at 0, 0
        has_box = np.any(objects.xyxy[:, :2] + objects.xyxy[:, 2:] != 0, axis=1)
        return cls(objects.xyxy / size, objects.class_id, has_box, ids)

    def __len__(self) -> int:
        return len(self.class_id)

    def __getitem__(self, index: Array | slice) -> Self:
        """Return the objects that a mask, an array of indices or a slice selects."""
        columns = (field.name for field in fields(self))
        return replace(self, **{name: getattr(self, name)[index] for name in columns})

    def __add__(self, other: Self) -> Self:
        """Return the objects of both."""
        columns = (field.name for field in fields(self))
        both = {name: (getattr(self, name), getattr(other, name)) for name in columns}
        return replace(self, **{name: np.concatenate(each) for name, each in both.items()})

    def moved(
        self, sx: float, ox: float, sy: float, oy: float, flip: bool = False, *, clip: bool = True
    ) -> Self:
        """Return the objects in fractions of another image: x' = x * sx + ox, y' = y * sy + oy.

        Args:
            sx: factor of x.
            ox: offset of x.
            sy: factor of y.
            oy: offset of y.
            flip: whether left and right are exchanged afterwards.
            clip: whether boxes end at the border of the image.
        """
        xyxy = self.xyxy * (sx, sy, sx, sy) + (ox, oy, ox, oy)
        if flip:
            xyxy[:, [0, 2]] = 1 - xyxy[:, [2, 0]]
        moved = replace(self, xyxy=xyxy)
        return moved.clipped((0, 0, 1, 1)) if clip else moved

    def clipped(self, part: tuple[float, float, float, float]) -> Self:
        """Return the objects with boxes that end at the border of a part (x1, y1, x2, y2)."""
        return replace(self, xyxy=self.xyxy.clip(part[:2] * 2, part[2:] * 2))

    def larger_than(self, width: float, height: float) -> Self:
        """Return the objects of at least that size, and those without a box."""
        sides = self.xyxy[:, 2:] - self.xyxy[:, :2]
        return self[(sides >= (width, height)).all(axis=1) | ~self.has_box]

    @property
    def cxcywh(self) -> Array:
        """(N, 4) float64: centre and size in fractions of the image."""
        corners, opposite = self.xyxy[:, :2], self.xyxy[:, 2:]
        return np.concatenate(((corners + opposite) / 2, opposite - corners), axis=1)
