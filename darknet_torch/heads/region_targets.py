"""Which anchors of [region] learn which objects and classes, and with which targets."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from darknet_torch.heads.base import anchor_pairs
from darknet_torch.heads.box_gradient import overlap
from darknet_torch.heads.loss_terms import Targets, focal_factor
from darknet_torch.heads.region_decoder import RegionDecoder
from darknet_torch.heads.targets import (
    ObjectRows,
    Overlap,
    all_boxes,
    best_overlap,
    cell_of,
    class_only,
    last_row,
    objects_of,
)
from darknet_torch.layers.truth import LossContext, Truth
from darknet_torch.layers.word_tree import Tree

__all__ = ["Labels", "RegionAssignment", "assign", "class_targets", "objectness_targets"]


class Labels(NamedTuple):
    """The classes that anchors learn, in Darknet's order; a later row may overwrite an earlier one.

    Attributes:
        place: (R,) int64, flat index into (B, A, H, W).
        class_id: (R,) int64.
        scale: (R,), the weight.
    """

    place: Tensor
    class_id: Tensor
    scale: Tensor


class RegionAssignment(NamedTuple):
    """Predictions and the objects that they learn.

    Attributes:
        predicted: (B, A, H, W, 4), all boxes, cxcywh.
        objects: the ground truth.
        overlap: (B, A, H, W), what each prediction overlaps most.
        class_only: (B,) bool, images that have a class but no box.
        chosen: (n,) int64, the flat index of the anchor that learns the class of each of those.
        places: (P,) int64, flat indices of the anchors that learn a box.
        number: (P,) int64, the object of each.
        labels: the classes.
    """

    predicted: Tensor
    objects: ObjectRows
    overlap: Overlap
    class_only: Tensor
    chosen: Tensor
    places: Tensor
    number: Tensor
    labels: Labels

    def boxes(self) -> tuple[Tensor, Tensor]:
        """Return the predicted and the true box (P, 4) of the anchors that learn one."""
        predicted = self.predicted.flatten(0, -2)[self.places]
        return predicted, self.objects.boxes[self.number].to(predicted.dtype)


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
    only, class_id = class_only(truth, head.classes, most)
    only = only & (head.word_tree is not None)
    boxed = replace(truth, valid=truth.valid & ~only[:, None])
    objects = objects_of(boxed, head.classes, most, class_map=head.class_map)
    predicted = all_boxes(head, maps, context.image_shape)
    best = best_overlap(predicted, objects)
    place = _by_shape(head, objects, predicted)
    places, group = place.unique(return_inverse=True)
    chosen = _likeliest(head, maps[only], objectness[only], class_id[only])
    chosen = chosen + only.nonzero()[:, 0] * objectness[0].numel()
    full = objectness.new_full
    rows = [
        _fixed_classes(head, objects, best, objectness),
        Labels(place, objects.class_id, full((len(place),), head.class_scale)),
        Labels(chosen, class_id[only], full((len(chosen),), head.class_scale)),
    ]
    labels = Labels(*(torch.cat(each) for each in zip(*rows, strict=True)))
    number = last_row(group, len(places))
    return RegionAssignment(predicted, objects, best, only, chosen, places, number, labels)


def _by_shape(head: RegionDecoder, objects: ObjectRows, predicted: Tensor) -> Tensor:
    """Return the flat index of the anchor whose shape fits each object best, (N,)."""
    anchors, height, width = predicted.shape[1:4]
    x, y = cell_of(objects.boxes[:, :2], (height, width))
    if head.bias_match:
        pairs = objects.boxes.new_tensor(anchor_pairs(head.anchors, head.num))
        sides = (pairs / pairs.new_tensor((width, height))).expand(len(x), -1, -1)
    else:
        sides = predicted[objects.image, :, y, x, 2:]  # (N, A, 2)
    wanted = objects.boxes[:, None, 2:].to(sides.dtype).expand_as(sides)
    origin = torch.zeros_like(sides)
    best = overlap("iou", torch.cat((origin, sides), -1), torch.cat((origin, wanted), -1))
    anchor = best.argmax(dim=1)
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
    path = tree.paths.to(class_id.device)[class_id]  # (n, depth)
    index = path.clamp_min(0)[:, None].expand(-1, probabilities.shape[1], -1)
    along = probabilities.gather(2, index).masked_fill(path[:, None] < 0, 1.0).prod(dim=-1)
    return (objectness.flatten(1) * along).argmax(dim=1)


def _fixed_classes(
    head: RegionDecoder, objects: ObjectRows, best: Overlap, objectness: Tensor
) -> Labels:
    """Return what `classfix` makes predictions learn that overlap an object (no class map)."""
    fixes = head.dialect.region_classfix and head.classfix > 0
    place = ((best.iou > head.thresh) & fixes).flatten().nonzero()[:, 0]
    scale = objectness.flatten()[place]
    scale = head.class_scale * (scale if head.classfix == 2 else torch.ones_like(scale))
    return Labels(place, objects.label[best.number.flatten()[place]], scale)


def objectness_targets(head: RegionDecoder, a: RegionAssignment) -> Targets:
    """Return the targets of the objectness, (B, A, H, W); with `background` 1 means no object."""
    iou = a.overlap.iou
    target = torch.full_like(iou, float(head.background))
    weight = head.noobject_scale * (iou <= head.thresh).to(iou.dtype)
    if head.dialect.region_classfix and head.classfix == -1:
        target, weight = iou.clone(), torch.full_like(iou, head.noobject_scale)
    if a.class_only.any():
        target[a.class_only] = 0.0
        weight[a.class_only] *= head.dialect.region_class_only_objectness
        weight.view(-1)[a.chosen] = 0.0
    positive = overlap("iou", *a.boxes()) if head.rescore else target.new_ones(len(a.places))
    target.view(-1)[a.places] = positive * (not head.background)
    weight.view(-1)[a.places] = head.object_scale
    return Targets(target, weight)


def class_targets(
    head: RegionDecoder, a: RegionAssignment, group: Tensor, value: Tensor
) -> Targets:
    """Return the targets of the classes of the anchors that learn some, (Q, C).

    Args:
        head: the head.
        a: the assignment.
        group: (R,), the index among the Q anchors of each label.
        value: predicted probabilities (Q, C).
    """
    count, classes = value.shape
    labels = a.labels
    if (tree := head.word_tree) is not None:
        return _tree_targets(tree, labels, group, value)
    if not head.softmax and head.dialect.region_logistic_classes:  # an anchor may have several
        target = torch.zeros_like(value)
        target[group, labels.class_id] = 1.0
        return Targets(target, torch.full_like(value, head.class_scale))
    row = last_row(group, count)
    class_id, scale = labels.class_id[row, None], labels.scale[row, None]
    if head.focal_loss:
        scale = scale * focal_factor(value.gather(1, class_id))
    target = torch.zeros_like(value).scatter_(1, class_id, 1.0)
    return Targets(target, scale.expand(-1, classes))


def _tree_targets(tree: Tree, labels: Labels, group: Tensor, value: Tensor) -> Targets:
    """Return the targets (Q, C) of a word tree: each group that a class's path goes through.

    In each group of the tree the last label counts whose path goes through it.
    """
    groups = tree.group_of.to(group.device)
    paths = tree.paths.to(group.device)[labels.class_id]  # (R, depth)
    row, step = (paths >= 0).nonzero(as_tuple=True)
    on_path, sets = paths[row, step], int(groups[-1]) + 1
    last = last_row(group[row] * sets + groups[on_path], len(value) * sets).view(-1, sets)
    last = last[:, groups]  # (Q, C)
    numbers = torch.arange(len(groups), device=group.device)
    none = on_path.new_full((1,), -1)
    winner = torch.cat((on_path, none))[last]
    scale = torch.cat((labels.scale[row], labels.scale.new_zeros(1)))[last]
    return Targets((winner == numbers).to(value.dtype), scale)
