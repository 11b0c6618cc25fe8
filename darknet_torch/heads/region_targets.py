"""Which anchors of [region] learn which objects and classes, and with which targets."""

from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_torch.heads.base import anchor_pairs, constant
from darknet_torch.heads.box_gradient import overlap
from darknet_torch.heads.loss_terms import Targets, focal_factor
from darknet_torch.heads.region_decoder import RegionDecoder
from darknet_torch.heads.targets import (
    ObjectRows,
    Overlap,
    all_boxes,
    best_overlap,
    best_shape,
    cell_of,
    class_only,
    last_row,
    numbers,
    objects_of,
    same_place,
    written,
)
from darknet_torch.layers.truth import LossContext, Truth
from darknet_torch.layers.word_tree import Tree

__all__ = ["Labels", "RegionAssignment", "assign", "class_targets", "objectness_targets"]


class Labels(NamedTuple):
    """The classes that anchors learn, in Darknet's order; a later row may overwrite an earlier one.

    Attributes:
        there: (R,) bool, False for padding, see `targets`.
        place: (R,) int64, flat index into (B, A, H, W).
        class_id: (R,) int64.
        scale: (R,), the weight.
    """

    there: Tensor
    place: Tensor
    class_id: Tensor
    scale: Tensor


class RegionAssignment(NamedTuple):
    """Predictions and the objects that they learn.

    Attributes:
        predicted: (B, A, H, W, 4), all boxes, cxcywh.
        objects: the ground truth.
        overlap: (B, A, H, W), what each prediction overlaps most.
        class_only: (B,) bool, images that have a class but no box; None: no word tree, and so none.
        chosen: (n,) int64, the flat index of the anchor that learns the class of each of those.
        place: (N,) int64, the flat index of the anchor of each object.
        learned: (N,) bool, the objects whose boxes are learned; others are padding, or a later one
            has the same anchor.
        labels: the classes.
        group: (R,) int64, of the labels, the last one of the same place.
    """

    predicted: Tensor
    objects: ObjectRows
    overlap: Overlap
    class_only: Tensor | None
    chosen: Tensor
    place: Tensor
    learned: Tensor
    labels: Labels
    group: Tensor

    def last_labels(self) -> Tensor:
        """Return which labels are the last ones of their place, (R,) bool; no padding."""
        return self.labels.there & (self.group == numbers(len(self.group), self.group))

    def boxes(self) -> tuple[Tensor, Tensor]:
        """Return the predicted and the true box (N, 4) of each object."""
        predicted = self.predicted.flatten(0, -2)[self.place]
        return predicted, self.objects.boxes.to(predicted.dtype)


def assign(
    head: RegionDecoder, maps: Tensor, objectness: Tensor, truth: Truth, context: LossContext
) -> RegionAssignment:
    """Find out which anchors learn which objects.

    Args:
        head: the head.
        maps: raw output (B, A, E, H, W) without gradient.
        objectness: its objectness (B, A, H, W).
        truth: ground truth of the batch.
        context: size of the images.
    """
    most = head.dialect.region_rows or head.max
    only = None
    if head.word_tree is not None:
        only, class_id = class_only(truth, head.classes, most)
        truth = replace(truth, valid=truth.valid & ~only[:, None])
    objects = objects_of(truth, head.classes, most, class_map=head.class_map)
    predicted = all_boxes(head, maps, context.image_shape)
    best = best_overlap(predicted, objects)
    place = _by_shape(head, objects, predicted)
    rows = [_labels(head, objectness, place, objects.class_id.clamp_min(0), objects.there)]
    chosen, first = place[:0], 0
    if head.dialect.region_classfix and head.classfix > 0:
        rows.insert(0, _fixed_classes(head, objects, best, objectness))
        first = len(rows[0].place)
    if only is not None:
        images = only.nonzero()[:, 0]
        chosen = _likeliest(head, maps[images], objectness[images], class_id[images])
        chosen = chosen + images * objectness[0].numel()
        rows.append(_labels(head, objectness, chosen, class_id[images]))
    labels = Labels(*map(torch.cat, zip(*rows, strict=True))) if len(rows) > 1 else rows[0]
    group = same_place(labels.place, labels.there, best.iou.numel(), last=True)
    a = RegionAssignment(
        predicted, objects, best, only, chosen, place, objects.there, labels, group
    )
    # no object has an anchor of those behind the objects
    return a._replace(learned=a.last_labels()[first : first + len(place)])


def _labels(
    head: RegionDecoder,
    objectness: Tensor,
    place: Tensor,
    class_id: Tensor,
    there: Tensor | None = None,
) -> Labels:
    """Return the labels of some anchors, with the weight of the cfg."""
    there = torch.ones_like(place, dtype=torch.bool) if there is None else there
    return Labels(there, place, class_id, objectness.new_full(place.shape, head.class_scale))


def _by_shape(head: RegionDecoder, objects: ObjectRows, predicted: Tensor) -> Tensor:
    """Return the flat index of the anchor whose shape fits each object best, (N,)."""
    anchors, height, width = predicted.shape[1:4]
    x, y = cell_of(objects.boxes[:, :2], (height, width))
    if head.bias_match:
        pairs = constant(anchor_pairs(head.anchors, head.num), objects.boxes)
        sides = pairs / constant((width, height), pairs)
    else:
        sides = predicted[objects.image, :, y, x, 2:]  # (N, A, 2)
    anchor = best_shape(sides, objects.boxes[:, 2:].to(sides.dtype))[:, 0]
    return ((objects.image * anchors + anchor) * height + y) * width + x


def _likeliest(head: RegionDecoder, maps: Tensor, objectness: Tensor, class_id: Tensor) -> Tensor:
    """Return the flat index in (A, H, W) of the anchor that predicts a class best, (n,).

    Args:
        head: the head.
        maps: raw output (n, A, E, H, W) of some images.
        objectness: its objectness (n, A, H, W).
        class_id: (n,), the class of each image.
    """
    if (tree := head.word_tree) is None or not len(maps):
        return class_id.new_zeros(len(maps))
    probabilities = tree.softmax(maps.movedim(2, -1)[..., head.class_entries()]).flatten(1, 3)
    path = tree.paths.to(class_id.device, non_blocking=True)[class_id]  # (n, depth)
    index = path.clamp_min(0)[:, None].expand(-1, probabilities.shape[1], -1)
    along = probabilities.gather(2, index).masked_fill(path[:, None] < 0, 1.0).prod(dim=-1)
    return (objectness.flatten(1) * along).argmax(dim=1)


def _fixed_classes(
    head: RegionDecoder, objects: ObjectRows, best: Overlap, objectness: Tensor
) -> Labels:
    """Return what `classfix` makes predictions learn that overlap an object (no class map)."""
    place = (best.iou > head.thresh).flatten().nonzero()[:, 0]
    labels = _labels(head, objectness, place, objects.label[best.number.flatten()[place]])
    if head.classfix == 2:
        return labels._replace(scale=labels.scale * objectness.flatten()[place])
    return labels


def objectness_targets(head: RegionDecoder, a: RegionAssignment) -> Targets:
    """Return the targets of the objectness, (B, A, H, W); with `background` 1 means no object."""
    iou = a.overlap.iou
    target = torch.full_like(iou, float(head.background))
    weight = head.noobject_scale * (iou <= head.thresh).to(iou.dtype)
    if head.dialect.region_classfix and head.classfix == -1:
        target, weight = iou.clone(), torch.full_like(iou, head.noobject_scale)
    if a.class_only is not None and len(a.chosen):
        only = a.class_only[:, None, None, None]
        target = target.masked_fill(only, 0.0)
        share = float(head.dialect.region_class_only_objectness)
        weight = torch.where(only, share * weight, weight)
        weight.view(-1)[a.chosen] = 0.0
    positive = overlap("iou", *a.boxes()) if head.rescore else target.new_ones(len(a.place))
    return Targets(
        written(target, a.place, a.learned, positive * (not head.background)),
        written(weight, a.place, a.learned, head.object_scale),
    )


def class_targets(head: RegionDecoder, a: RegionAssignment, value: Tensor) -> Targets:
    """Return the targets of the classes, (R, C): in the last row of a place those of all its rows.

    Args:
        head: the head.
        a: the assignment.
        value: predicted probabilities (R, C).
    """
    labels, learned = a.labels, a.last_labels()[:, None]
    if (tree := head.word_tree) is not None:
        return _tree_targets(tree, labels, a.group, value)
    if not head.softmax and head.dialect.region_logistic_classes:  # an anchor may have several
        target = torch.zeros_like(value)
        target[a.group, labels.class_id] = 1.0
        return Targets(target, (learned * head.class_scale).expand_as(value))
    class_id, scale = labels.class_id[:, None], labels.scale[:, None] * learned
    if head.focal_loss:
        scale = scale * focal_factor(value.gather(1, class_id))
    target = torch.zeros_like(value).scatter_(1, class_id, 1.0)
    return Targets(target, scale.expand_as(value))


def _tree_targets(tree: Tree, labels: Labels, group: Tensor, value: Tensor) -> Targets:
    """Return the targets (R, C) of a word tree: each group that a class's path goes through.

    In each group of the tree the last label counts whose path goes through it.
    """
    sets = int(tree.group_of[-1]) + 1
    groups, paths = (
        each.to(group.device, non_blocking=True) for each in (tree.group_of, tree.paths)
    )
    on_path = paths[labels.class_id]  # (R, depth)
    none = group.new_full((), len(group) * sets)
    there = labels.there[:, None] & (on_path >= 0)
    index = (group[:, None] * sets + groups[on_path]).where(there, none).flatten()
    last = last_row(index, len(group) * sets + 1)[:-1].view(-1, sets)
    last = last[:, groups]  # (R, C)
    numbers = torch.arange(len(groups), device=group.device)
    winner = F.pad(on_path.flatten(), (0, 1), value=-1)[last]
    scale = F.pad(labels.scale[:, None].expand_as(on_path).flatten(), (0, 1))[last]
    return Targets((winner == numbers).to(value.dtype), scale)
