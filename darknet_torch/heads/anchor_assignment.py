"""Which anchors of [yolo] and [Gaussian_yolo] learn which objects.

Darknet writes in three passes, each of which may overwrite what is there: predictions that overlap
an object (`ignore_thresh`), those that overlap it very much (`truth_thresh`), and for each object
the anchor of its shape. A row of `AnchorAssignment` is one such writing, in Darknet's order, or
padding: see `targets`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_torch.heads.anchor_head import AnchorHead
from darknet_torch.heads.base import anchor_pairs, constant
from darknet_torch.heads.box_gradient import overlap
from darknet_torch.heads.targets import (
    ObjectRows,
    Overlap,
    best_overlap,
    best_shape,
    cell_of,
    numbers,
    objects_of,
    packs,
    same_place,
    written,
)
from darknet_torch.layers.truth import AnchorObjects, LossContext, Truth

__all__ = [
    "AnchorAssignment",
    "assign",
    "objects_of_anchors",
]

_SHOWN = 0.25
"""Probability from which on a class counts as predicted, where `ignore_thresh` asks for one."""


class AnchorAssignment(NamedTuple):
    """Predictions and the objects that they learn.

    Attributes:
        predicted: (B, A, H, W, 4), all boxes, cxcywh.
        objects: the ground truth.
        overlap: (B, A, H, W), what each prediction overlaps most.
        ignored: (B, A, H, W) bool, predictions that count as no error of objectness.
        learned: (B, A, H, W) bool, predictions above `truth_thresh`; None: it lets none pass.
        there: (K,) bool, which rows count; the others are padding.
        place: (K,) int64, flat index of the anchor of each row.
        number: (K,) int64, the object of each row.
        classes_only: number of rows, the first ones, that are of classes, not of boxes.
        early: number of rows, behind those, that are above `truth_thresh`.
        group: (K,) int64, the first row of the same place.
    """

    predicted: Tensor
    objects: ObjectRows
    overlap: Overlap
    ignored: Tensor
    learned: Tensor | None
    there: Tensor
    place: Tensor
    number: Tensor
    classes_only: int
    early: int
    group: Tensor

    def boxes(self) -> tuple[Tensor, Tensor]:
        """Return the predicted and the true box (K, 4) of each row; of padding both are equal."""
        predicted = self.predicted.flatten(0, -2)[self.place]
        truth = self.objects.boxes[self.number].to(predicted.dtype)
        return predicted.where(self.there[:, None], truth), truth

    def leads(self) -> Tensor:
        """Return which rows are the first ones of their place, (K,) bool; no padding."""
        return self.there & (self.group == numbers(len(self.group), self.group))

    def late(self) -> slice:
        """Return the rows that an object has because of its shape."""
        return slice(self.classes_only + self.early, None)

    def anchor(self) -> Tensor:
        """Return the index in `mask` of each row's anchor, (K,)."""
        _, anchors, height, width, _ = self.predicted.shape
        return self.place // (height * width) % anchors

    def cell(self) -> Tensor:
        """Return column and row of each row's cell, (K, 2)."""
        height, width = self.predicted.shape[2:4]
        return torch.stack((self.place % width, self.place // width % height), dim=-1)


def assign(
    head: AnchorHead,
    maps: Tensor,
    truth: Truth,
    context: LossContext,
    *,
    keep_unknown: bool = False,
    ignored_learn: bool = False,
) -> AnchorAssignment:
    """Find out which predictions learn which objects.

    Args:
        head: the head.
        maps: raw output (B, A, E, H, W) without gradient.
        truth: ground truth of the batch.
        context: size of the images.
        keep_unknown: objects of classes that the head does not have are objects, too.
        ignored_learn: ignored predictions learn the class.
    """
    settings = (head.classes, head.max, head.class_map, keep_unknown)
    objects = context.once(
        ("objects", *settings),
        lambda: objects_of(
            truth, head.classes, head.max, class_map=head.class_map, keep_unknown=keep_unknown
        ),
    )
    shape = (head.anchors, head.num, head.iou_thresh, head.iou_thresh_kind, context.image_shape)
    fitting = context.once(
        ("fitting", *settings, *shape), lambda: _fitting(head, objects, context.image_shape)
    )
    predicted = head.all_boxes(maps, context.image_shape)
    best = best_overlap(predicted, objects)
    ignored = best.iou > head.ignore_thresh
    if head.dialect.yolo_ignores_by_class:
        ignored = _shows_a_class(head, maps, ignored)
    can_learn = head.truth_thresh < 1  # else only by rounding
    learned = best.iou > head.truth_thresh if can_learn else None
    of_classes = _predictions(ignored, best) if ignored_learn else None
    early = None if learned is None else _predictions(learned, best)
    late = _by_shape(head, objects, fitting, maps.shape)
    rows = [each for each in (of_classes, early) if each is not None]
    there, place, number = map(torch.cat, zip(*rows, late, strict=True)) if rows else late
    if packs(there):
        there, place, number = (each[there] for each in (there, place, number))
    group = same_place(place, there, best.iou.numel())
    first, second = (0 if each is None else len(each.place) for each in (of_classes, early))
    return AnchorAssignment(
        predicted, objects, best, ignored, learned, there, place, number, first, second, group
    )


class _Rows(NamedTuple):
    """Some rows of an `AnchorAssignment`."""

    there: Tensor
    place: Tensor
    number: Tensor


def _predictions(where: Tensor, best: Overlap) -> _Rows:
    """Return a row for each prediction `where` (B, A, H, W), with what it overlaps."""
    place = where.flatten().nonzero()[:, 0]
    return _Rows(torch.ones_like(place, dtype=torch.bool), place, best.number.flatten()[place])


def _shows_a_class(head: AnchorHead, maps: Tensor, where: Tensor) -> Tensor:
    """Return which of the predictions `where` (B, A, H, W) have a likely class."""
    if not packs(where):
        return (head.squashed(maps[:, :, head.ENTRIES :].amax(dim=2)) > _SHOWN).logical_and_(where)
    image, anchor, y, x = where.nonzero(as_tuple=True)
    likeliest = maps[image, anchor, head.ENTRIES :, y, x].amax(dim=-1)
    shown = torch.zeros_like(where)
    shown[image, anchor, y, x] = head.squashed(likeliest) > _SHOWN
    return shown


def _fitting(head: AnchorHead, objects: ObjectRows, image: tuple[int, int]) -> Tensor:
    """Return which anchors have the best shape for each object, or a similar one, (N, num) bool."""
    boxes, count = objects.boxes, head.num
    pairs = anchor_pairs(head.anchors, count)[:count]
    sides = constant([(w / image[1], h / image[0]) for w, h in pairs], boxes)
    wanted = boxes[:, 2:]
    best = best_shape(sides, wanted)
    fitting = best == constant(range(count), best)
    if head.iou_thresh < 1:
        origin = constant(((0.0, 0.0),), boxes).expand(len(boxes), count, -1)
        both = (sides, wanted[:, None])
        shapes = [torch.cat((origin, each.expand_as(origin)), -1) for each in both]
        fitting |= overlap(head.iou_thresh_kind, *shapes) > head.iou_thresh
    return fitting


def _by_shape(
    head: AnchorHead, objects: ObjectRows, fitting: Tensor, shape: Sequence[int]
) -> _Rows:
    """Return the rows of each object's anchors of a map of this shape; see `_fitting`."""
    anchors, height, width = shape[1], shape[3], shape[4]
    mask = [n if n < head.num and head.mask.index(n) == i else -1 for i, n in enumerate(head.mask)]
    columns = constant(mask, objects.image)
    there = fitting[:, columns] & objects.there[:, None]  # (N, A)
    if min(mask) < 0:
        there &= columns >= 0
    x, y = cell_of(head.point_of(objects.boxes), (height, width))
    place = torch.add(x, y, alpha=width).add_(objects.image, alpha=anchors * height * width)
    place = place[:, None] + constant(range(0, anchors * height * width, height * width), place)
    number = numbers(len(x), x)[:, None].expand_as(place)
    return _Rows(there.flatten(), place.flatten(), number.flatten())


def objects_of_anchors(
    head: AnchorHead, truth: Truth, image: tuple[int, int], grid: tuple[int, int]
) -> AnchorObjects:
    """Return the object that each anchor learns a box from; of several the last.

    Args:
        head: the head.
        truth: ground truth of B images.
        image: height and width of the network's input in pixels.
        grid: height and width of the head's map.
    """
    objects = objects_of(truth, head.classes, head.max, class_map=head.class_map)
    count = len(head.mask)
    rows = _by_shape(head, objects, _fitting(head, objects, image), (len(truth), count, 0, *grid))
    none = torch.full((len(truth), count, *grid), -1, device=rows.place.device)
    last = same_place(rows.place, rows.there, none.numel(), last=True)
    owner = written(none, rows.place, rows.there, rows.number[last])
    ids = truth.object_id
    if ids is None:
        ids = torch.arange(truth.valid.numel(), device=owner.device).view(truth.valid.shape)
    ids = ids[:, : objects.by_image.shape[1]].flatten()
    label, class_id = (F.pad(each, (0, 1), value=-1)[owner] for each in (ids, objects.class_id))
    return AnchorObjects(label, class_id)
