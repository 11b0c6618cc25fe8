"""What the anchors of [yolo] and [Gaussian_yolo] learn: targets and weights; see `assign`.

Where the options of a head let it, the targets take a few operations only: a card takes as long to
launch one as to compute it.
"""

import torch
from torch import Tensor

from darknet_torch.heads.anchor_assignment import AnchorAssignment
from darknet_torch.heads.anchor_head import AnchorHead
from darknet_torch.heads.base import constant
from darknet_torch.heads.loss_terms import Targets, focal_factor
from darknet_torch.heads.targets import last_row, same_place, written

__all__ = ["box_divisor", "class_targets", "objectness_targets"]


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
    smooth, iou, normalizer = head.objectness_smooth, a.overlap.iou, head.obj_normalizer
    place, number, there = a.place[a.late()], a.number[a.late()], a.there[a.late()]
    if not smooth and not head.counters_per_class:
        count = value.numel()
        index = place.where(there, constant((count,), place))
        target = value.new_zeros(count + 1).scatter_(0, index, 1.0)[:-1].view(value.shape)
        if a.learned is not None:
            target.masked_fill_(a.learned, 1.0)
        weight = torch.where(a.ignored, target, constant((1.0,), value))
        return Targets(target, weight if normalizer == 1 else weight.mul_(normalizer))
    keeps_smooth = keeps_smooth and smooth
    target, weight = torch.zeros_like(value), torch.full_like(value, normalizer)
    if smooth:
        target = torch.where(a.ignored, iou**exponent, target)
    else:
        weight.masked_fill_(a.ignored, 0.0)
    if a.learned is not None:
        target = torch.where(a.learned, iou.square() if smooth else torch.ones_like(iou), target)
        weight.masked_fill_(a.learned, normalizer)
    row = same_place(place, there, value.numel(), last=not keeps_smooth)
    multiplier = head.multipliers(value)[a.objects.class_id[number[row]]]
    if keeps_smooth:
        there = there & (Targets(target, weight).delta(value).flatten()[place] == 0)
    return Targets(
        written(target, place, there, 1.0),
        written(weight, place, there, multiplier * normalizer),
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
    index = torch.add(class_id, a.group, alpha=classes)
    index = index.where(a.there & (class_id >= 0), constant((count * classes,), index))
    if not (focal or head.counters_per_class or head.objectness_smooth):
        of_class = value.new_full((count * classes + 1,), eps / 2)
        of_class = of_class.scatter_(0, index, 1 - eps / 2)[:-1].view(count, classes)
        return Targets(of_class, leads.to(value.dtype)[:, None].expand_as(value))
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
    owner = last_row(index, count * classes + 1)[:-1].view(count, classes)
    return Targets(
        torch.where(owner >= 0, target[owner], base_target[:, None]),
        torch.where(owner >= 0, weight[owner], base_weight[:, None]),
    )


def box_divisor(a: AnchorAssignment, classes: Tensor, where: Tensor | None = None) -> Tensor:
    """Return what the box gradients of each row are divided by, (K,).

    Args:
        a: the assignment.
        classes: deltas of the classes (K, C); the classes to be raised are counted.
        where: (K,) bool, anchors where it is done; None: everywhere.
    """
    raised = (classes > 0).sum(dim=-1, dtype=classes.dtype)
    if where is not None:
        raised *= where
    return raised.clamp_min_(1)[a.group]
