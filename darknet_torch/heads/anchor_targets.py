"""Which anchors of [yolo] and [Gaussian_yolo] learn which objects, and with which targets.

Darknet writes in three passes, each of which may overwrite what is there: predictions that overlap
an object (`ignore_thresh`), those that overlap it very much (`truth_thresh`), and for each object
the anchor of its shape. A row of `AnchorAssignment` is one such writing, in Darknet's order, or
padding: see `targets`.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_torch.heads.anchor_head import AnchorHead
from darknet_torch.heads.base import anchor_pairs, constant
from darknet_torch.heads.box_gradient import overlap
from darknet_torch.heads.loss_terms import Targets, focal_factor
from darknet_torch.heads.targets import (
    ObjectRows,
    Overlap,
    all_boxes,
    best_overlap,
    cell_of,
    last_row,
    objects_of,
    packs,
    same_place,
    written,
)
from darknet_torch.layers.truth import AnchorObjects, LossContext, Truth

__all__ = [
    "AnchorAssignment",
    "assign",
    "box_divisor",
    "class_targets",
    "objectness_targets",
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
        learned: (B, A, H, W) bool, predictions above `truth_thresh`.
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
    learned: Tensor
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
        rows = torch.arange(len(self.group), device=self.group.device)
        return self.there & (self.group == rows)

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
    objects = objects_of(
        truth, head.classes, head.max, class_map=head.class_map, keep_unknown=keep_unknown
    )
    predicted = all_boxes(head, maps, context.image_shape)
    best = best_overlap(predicted, objects)
    ignored = best.iou > head.ignore_thresh
    if head.dialect.yolo_ignores_by_class:
        ignored = _shows_a_class(head, maps, ignored)
    can_learn = head.truth_thresh < 1  # else only by rounding
    learned = best.iou > (head.truth_thresh if can_learn else math.inf)
    early = [
        _predictions(ignored, best, some=ignored_learn),
        _predictions(learned, best, some=can_learn),
    ]
    rows = [*early, _by_shape(head, objects, context.image_shape, maps.shape)]
    there, place, number = (torch.cat(each) for each in zip(*rows, strict=True))
    if packs(there):
        there, place, number = (each[there] for each in (there, place, number))
    group = same_place(place, there, best.iou.numel())
    first, second = (len(each.place) for each in early)
    return AnchorAssignment(
        predicted, objects, best, ignored, learned, there, place, number, first, second, group
    )


class _Rows(NamedTuple):
    """Some rows of an `AnchorAssignment`."""

    there: Tensor
    place: Tensor
    number: Tensor


def _predictions(where: Tensor, best: Overlap, *, some: bool) -> _Rows:
    """Return a row for each prediction `where` (B, A, H, W), with what it overlaps; or none."""
    place = where.flatten().nonzero()[:, 0] if some else best.number.new_zeros(0)
    return _Rows(torch.ones_like(place, dtype=torch.bool), place, best.number.flatten()[place])


def _shows_a_class(head: AnchorHead, maps: Tensor, where: Tensor) -> Tensor:
    """Return which of the predictions `where` (B, A, H, W) have a likely class."""
    if not packs(where):
        return where & (head.squashed(maps[:, :, head.ENTRIES :].amax(dim=2)) > _SHOWN)
    image, anchor, y, x = where.nonzero(as_tuple=True)
    likeliest = maps[image, anchor, head.ENTRIES :, y, x].amax(dim=-1)
    shown = torch.zeros_like(where)
    shown[image, anchor, y, x] = head.squashed(likeliest) > _SHOWN
    return shown


def _by_shape(
    head: AnchorHead, objects: ObjectRows, image: tuple[int, int], shape: torch.Size
) -> _Rows:
    """Return the rows of each object's anchor of the best shape, and of similar ones."""
    _, anchors, _, height, width = shape
    boxes, count = objects.boxes, head.num
    pairs = constant(anchor_pairs(head.anchors, count)[:count], boxes)
    sides = F.pad(pairs / constant((image[1], image[0]), boxes), (2, 0))
    wanted = F.pad(boxes[:, None, 2:], (2, 0)).expand(-1, count, -1)
    sides = sides.expand_as(wanted)
    best = overlap("iou", sides, wanted).argmax(dim=1, keepdim=True)
    similar = torch.arange(count, device=boxes.device) == best  # (N, num)
    if head.iou_thresh < 1:
        similar = similar | (overlap(head.iou_thresh_kind, sides, wanted) > head.iou_thresh)
    mask = [n if n < count and head.mask.index(n) == i else -1 for i, n in enumerate(head.mask)]
    columns = constant(mask, best)
    there = similar[:, columns] & (columns >= 0) & objects.there[:, None]  # (N, A)
    x, y = cell_of(head.point_of(boxes), (height, width))
    image_and_anchor = objects.image[:, None] * anchors + torch.arange(anchors, device=x.device)
    place = (image_and_anchor * height + y[:, None]) * width + x[:, None]
    number = torch.arange(len(boxes), device=x.device)[:, None].expand_as(place)
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
    rows = _by_shape(head, objects, image, torch.Size((len(truth), count, 0, *grid)))
    none = torch.full((len(truth), count, *grid), -1, device=rows.place.device)
    last = same_place(rows.place, rows.there, none.numel(), last=True)
    owner = written(none, rows.place, rows.there, rows.number[last])
    ids = truth.object_id
    if ids is None:
        ids = torch.arange(truth.valid.numel(), device=owner.device).view(truth.valid.shape)
    ids = ids[:, : objects.by_image.shape[1]].flatten()
    label, class_id = (F.pad(each, (0, 1), value=-1)[owner] for each in (ids, objects.class_id))
    return AnchorObjects(label, class_id)


def objectness_targets(
    head: AnchorHead, a: AnchorAssignment, value: Tensor, *, exponent: int, keeps_smooth: bool
) -> Targets:
    """Return the targets of the objectness, (B, A, H, W).

    Args:
        head: the head.
        a: the assignment.
        value: predicted objectness (B, A, H, W).
        exponent: of the IoU that is the target of ignored predictions with `objectness_smooth`.
        keeps_smooth: with `objectness_smooth`, an object's anchor keeps the target that it has.
    """
    smooth, iou = head.objectness_smooth, a.overlap.iou
    keeps_smooth = keeps_smooth and smooth
    zero = torch.zeros_like(value)
    target = torch.where(a.ignored, iou**exponent, zero) if smooth else zero.clone()
    weight = torch.full_like(value, head.obj_normalizer)
    if not smooth:
        weight.masked_fill_(a.ignored, 0.0)
    target = torch.where(a.learned, iou.square() if smooth else torch.ones_like(iou), target)
    weight.masked_fill_(a.learned, head.obj_normalizer)
    place, number, there = a.place[a.late()], a.number[a.late()], a.there[a.late()]
    row = same_place(place, there, value.numel(), last=not keeps_smooth)
    multiplier = head.multipliers(value)[a.objects.class_id[number[row]]]
    if keeps_smooth:
        there = there & (Targets(target, weight).delta(value).flatten()[place] == 0)
    return Targets(
        written(target, place, there, 1.0),
        written(weight, place, there, multiplier * head.obj_normalizer),
    )


def class_targets(
    head: AnchorHead, a: AnchorAssignment, value: Tensor, *, focal: bool = False
) -> Targets:
    """Return the targets of the classes, (K, C): in the first row of a place those of all its rows.

    The first object of an anchor sets all classes, the others each its own.

    Args:
        head: the head.
        a: the assignment.
        value: predicted probabilities (K, C).
        focal: the first object's classes have the factor of the focal loss.
    """
    (count, classes), eps = value.shape, head.label_smooth_eps
    class_id, leads = a.objects.class_id[a.number], a.leads()
    target = value.new_full((count,), 1 - eps / 2)
    weight = head.multipliers(value)[class_id]
    base_target, base_weight = value.new_full((count,), eps / 2), leads.to(value.dtype)
    if focal:
        base_weight = leads * focal_factor(value.gather(1, class_id.clamp_min(0)[:, None])[:, 0])
        base_target, target = torch.zeros_like(base_target), torch.where(leads, 1.0, target)
        weight = torch.where(leads, base_weight, weight)
    elif head.counters_per_class:
        weight = torch.where(leads, weight * head.cls_normalizer, weight)
    if head.objectness_smooth:
        early = slice(a.classes_only, a.classes_only + a.early)
        target[early] = a.overlap.iou.flatten()[a.place[early]].square()
        weight[early] = head.multipliers(value)[class_id[early]]
    known, none = a.there & (class_id >= 0), class_id.new_full((), count * classes)
    owner = last_row((a.group * classes + class_id).where(known, none), count * classes + 1)
    owner = owner[:-1].view(count, classes)
    return Targets(
        torch.where(owner >= 0, target[owner], base_target[:, None]),
        torch.where(owner >= 0, weight[owner], base_weight[:, None]),
    )


def box_divisor(a: AnchorAssignment, classes: Tensor, where: Tensor | bool = True) -> Tensor:
    """Return what the box gradients of each row are divided by, (K,).

    Args:
        a: the assignment.
        classes: deltas of the classes (K, C); the classes to be raised are counted.
        where: (K,) bool, anchors where it is done.
    """
    raised = (classes > 0).sum(dim=-1).to(classes.dtype)
    return torch.where((raised > 0) & where, raised, torch.ones_like(raised))[a.group]
