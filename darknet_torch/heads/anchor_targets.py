"""Which anchors of [yolo] and [Gaussian_yolo] learn which objects, and with which targets.

Darknet writes in three passes, each of which may overwrite what is there: predictions that overlap
an object (`ignore_thresh`), those that overlap it very much (`truth_thresh`), and for each object
the anchor of its shape. A row of `AnchorAssignment` is one such writing, in Darknet's order.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_torch.heads.anchor_head import AnchorHead
from darknet_torch.heads.base import anchor_pairs
from darknet_torch.heads.box_gradient import overlap
from darknet_torch.heads.loss_terms import Targets, focal_factor
from darknet_torch.heads.targets import (
    ObjectRows,
    Overlap,
    all_boxes,
    best_overlap,
    cell_of,
    first_row,
    last_row,
    objects_of,
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
        place: (K,) int64, flat index of the anchor of each row.
        number: (K,) int64, the object of each row.
        classes_only: number of rows, the first ones, that are of classes, not of boxes.
        early: number of rows, behind those, that are above `truth_thresh`.
        places: (P,) int64, the flat indices without repetition.
        group: (K,) int64, the index among the P of each row.
    """

    predicted: Tensor
    objects: ObjectRows
    overlap: Overlap
    ignored: Tensor
    learned: Tensor
    place: Tensor
    number: Tensor
    classes_only: int
    early: int
    places: Tensor
    group: Tensor

    def boxes(self) -> tuple[Tensor, Tensor]:
        """Return the predicted and the true box (K, 4) of each row."""
        predicted = self.predicted.flatten(0, -2)[self.place]
        return predicted, self.objects.boxes[self.number].to(predicted.dtype)

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
    ignored, learned = best.iou > head.ignore_thresh, best.iou > head.truth_thresh
    if head.dialect.yolo_ignores_by_class:
        ignored = ignored & _shows_a_class(head, maps, ignored)
    late = _by_shape(head, objects, context.image_shape, maps.shape)
    rows = [(each.flatten().nonzero()[:, 0], each) for each in (ignored & ignored_learn, learned)]
    pairs = [(place, best.number.flatten()[place]) for place, _ in rows] + [late]
    place, number = (torch.cat(each) for each in zip(*pairs, strict=True))
    places, group = place.unique(return_inverse=True)
    return AnchorAssignment(
        predicted,
        objects,
        best,
        ignored,
        learned,
        place,
        number,
        len(pairs[0][0]),
        len(pairs[1][0]),
        places,
        group,
    )


def _shows_a_class(head: AnchorHead, maps: Tensor, where: Tensor) -> Tensor:
    """Return for the predictions `where` (B, A, H, W) whether some class is likely."""
    image, anchor, y, x = where.nonzero(as_tuple=True)
    probabilities = head.squashed(maps[image, anchor, head.ENTRIES :, y, x])
    shown = torch.zeros_like(where)
    shown[image, anchor, y, x] = (probabilities > _SHOWN).any(dim=-1)
    return shown


def _by_shape(
    head: AnchorHead, objects: ObjectRows, image: tuple[int, int], shape: torch.Size
) -> tuple[Tensor, Tensor]:
    """Return place and number of each object's anchor of the best shape, and of similar ones."""
    _, anchors, _, height, width = shape
    device, count = objects.boxes.device, head.num
    pairs = torch.tensor(anchor_pairs(head.anchors, count)[:count], device=device)
    sides = torch.cat((torch.zeros_like(pairs), pairs / pairs.new_tensor((image[1], image[0]))), 1)
    wanted = F.pad(objects.boxes[:, None, 2:], (2, 0)).expand(-1, count, -1)
    sides = sides.expand_as(wanted)
    if len(wanted):
        best = overlap("iou", sides, wanted).argmax(dim=1, keepdim=True)
    else:
        best = objects.number.new_zeros(0, 1)
    similar = torch.arange(count, device=device) == best
    if head.iou_thresh < 1:
        similar = similar | (overlap(head.iou_thresh_kind, sides, wanted) > head.iou_thresh)
    mask = [n if n < count and head.mask.index(n) == i else -1 for i, n in enumerate(head.mask)]
    columns = torch.tensor(mask, device=device)
    number, anchor = (similar[:, columns] & (columns >= 0)).nonzero(as_tuple=True)
    x, y = cell_of(head.point_of(objects.boxes[number]), (height, width))
    place = ((objects.image[number] * anchors + anchor) * height + y) * width + x
    return place, number


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
    count, (height, width) = len(head.mask), grid
    place, number = _by_shape(head, objects, image, torch.Size((len(truth), count, 0, *grid)))
    last = last_row(place, len(truth) * count * height * width)
    owner = F.pad(number, (0, 1), value=-1)[last].view(len(truth), count, height, width)
    ids = truth.object_id
    if ids is None:
        ids = torch.arange(truth.valid.numel(), device=place.device).view(truth.valid.shape)
    label = F.pad(ids[objects.image, objects.row], (0, 1), value=-1)[owner]
    return AnchorObjects(label, F.pad(objects.class_id, (0, 1), value=-1)[owner])


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
    late, number = a.place[a.classes_only + a.early :], a.number[a.classes_only + a.early :]
    places, group = late.unique(return_inverse=True)
    row = first_row(group, len(places)) if keeps_smooth else last_row(group, len(places))
    multiplier = head.multipliers(value)[a.objects.class_id[number[row]]]
    if keeps_smooth:
        free = Targets(target, weight).delta(value).flatten()[places] == 0
        places, multiplier = places[free], multiplier[free]
    target.view(-1)[places] = 1.0
    weight.view(-1)[places] = multiplier * head.obj_normalizer
    return Targets(target, weight)


def class_targets(
    head: AnchorHead, a: AnchorAssignment, value: Tensor, *, focal: bool = False
) -> Targets:
    """Return the targets of the classes of the anchors that learn something, (P, C).

    The first object of an anchor sets all classes, the others each its own.

    Args:
        head: the head.
        a: the assignment.
        value: predicted probabilities (P, C).
        focal: the first object's classes have the factor of the focal loss.
    """
    (count, classes), eps = value.shape, head.label_smooth_eps
    class_id = a.objects.class_id[a.number]
    target = value.new_full((len(a.place),), 1 - eps / 2)
    weight = head.multipliers(value)[class_id]
    base_target, base_weight = value.new_full((count,), eps / 2), value.new_ones(count)
    first = first_row(a.group, count)
    if focal:
        base_weight = focal_factor(value.gather(1, class_id[first, None])[:, 0])
        base_target, target[first], weight[first] = torch.zeros_like(base_target), 1.0, base_weight
    elif head.counters_per_class:
        weight[first] *= head.cls_normalizer
    if head.objectness_smooth:
        early = slice(a.classes_only, a.classes_only + a.early)
        target[early] = a.overlap.iou.flatten()[a.place[early]].square()
        weight[early] = head.multipliers(value)[class_id[early]]
    known = (class_id >= 0).nonzero()[:, 0]
    target, weight = (F.pad(each[known], (0, 1)) for each in (target, weight))  # the last for none
    owner = last_row(a.group[known] * classes + class_id[known], count * classes)
    owner = owner.view(count, classes)
    return Targets(
        torch.where(owner >= 0, target[owner], base_target[:, None]),
        torch.where(owner >= 0, weight[owner], base_weight[:, None]),
    )


def box_divisor(a: AnchorAssignment, classes: Tensor, where: Tensor | bool = True) -> Tensor:
    """Return what the box gradients of each row are divided by, (K,).

    Args:
        a: the assignment.
        classes: deltas of the classes (P, C); the classes to be raised are counted.
        where: (P,) bool, anchors where it is done.
    """
    raised = (classes > 0).sum(dim=-1).to(classes.dtype)
    return torch.where((raised > 0) & where, raised, torch.ones_like(raised))[a.group]
