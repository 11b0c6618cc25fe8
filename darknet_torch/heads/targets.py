"""From ground truth to targets: the objects of a batch, their cells, the anchors that match them.

Darknet goes through the objects one after the other and writes into one array, so that a later
object overwrites what an earlier one wrote at the same anchor. Here all objects are handled at
once; `last_row` and `first_row` say which one Darknet would have left there.

No size depends on values, which a graphics card would have to be waited for: rows of padding go
along, marked as not `there`. On the CPU they are left out where that saves time: see `packs`.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_torch.heads.base import Cells, Head, constant, kept
from darknet_torch.layers.truth import Truth

__all__ = [
    "ObjectRows",
    "Overlap",
    "all_boxes",
    "best_overlap",
    "best_shape",
    "cell_of",
    "class_only",
    "first_row",
    "last_row",
    "numbers",
    "objects_of",
    "packs",
    "same_place",
    "written",
]

_LARGEST_TABLE = 1 << 24
"""Overlaps of predictions and objects that are in memory at once."""


class ObjectRows(NamedTuple):
    """The objects of a batch, M rows of each of the B images, one after the other.

    Attributes:
        there: (B * M,) bool, which rows are objects that have a box; the others are padding.
        image: (B * M,) int64, index of the image.
        boxes: (B * M, 4) cxcywh in fractions of the network's input; of padding ones.
        class_id: (B * M,) int64, after the class map; -1 if it is none of the head's classes.
        label: (B * M,) int64, the class before the class map.
        by_image: (B, M, 4), the boxes of known classes; other rows are zeros.
    """

    there: Tensor
    image: Tensor
    boxes: Tensor
    class_id: Tensor
    label: Tensor
    by_image: Tensor


def objects_of(
    truth: Truth,
    classes: int,
    most: int,
    *,
    class_map: tuple[int, ...] | None = None,
    keep_unknown: bool = False,
) -> ObjectRows:
    """Return the objects that a head learns boxes from.

    Args:
        truth: ground truth of the batch.
        classes: number of the head's classes; objects of other classes are left out.
        most: number of rows of an image that count.
        class_map: class of the head for each label.
        keep_unknown: objects of other classes are there, too, but not in `by_image`.
    """
    if packs(truth.valid):
        most = min(most, _longest(truth.valid))
    labels, boxes = truth.class_id[:, :most], truth.boxes[:, :most]
    known = (labels >= 0) & (labels < min(classes, len(class_map or range(classes))))
    has_box = truth.valid[:, :most] & truth.has_box[:, :most]
    learned = has_box & known
    there = has_box if keep_unknown else learned
    image = numbers(len(labels), labels)[:, None].expand_as(labels)
    mapped = torch.where(known, labels, constant((-1,), labels))
    if class_map is not None:
        mapped = constant((*class_map, -1), labels)[mapped]  # the last is that of -1
    each = torch.where(there[..., None], boxes, constant((1.0,), boxes)).flatten(0, 1)
    by_image = torch.where(learned[..., None], boxes, constant((0.0,), boxes))
    rows = (part.flatten() for part in (there, image, mapped, labels))
    there, image, mapped, labels = rows
    return ObjectRows(there, image, each, mapped, labels, by_image)


def packs(like: Tensor) -> bool:
    """Return whether sizes may depend on values: where a tensor lies on the CPU."""
    return like.device.type == "cpu"


def numbers(count: int, like: Tensor) -> Tensor:
    """Return 0, 1, 2 ... as (count,) int64 on the device of a tensor; not to be written to."""
    if like.device.type == "cpu":
        return torch.arange(count)
    return kept(torch.arange, 1 << max(count - 1, 0).bit_length(), like=like)[:count]


def _longest(valid: Tensor) -> int:
    """Return the number of rows (B, M) up to the last object of all images."""
    used = valid.any(dim=0).nonzero()
    return int(used[-1]) + 1 if len(used) else 0


def class_only(truth: Truth, classes: int, most: int) -> tuple[Tensor, Tensor]:
    """Return which images (B,) have a class without a box, and the first such class (B,)."""
    labels = truth.class_id[:, :most]
    rows = truth.valid[:, :most] & ~truth.has_box[:, :most] & (labels >= 0) & (labels < classes)
    if not rows.shape[1]:
        return rows.any(dim=1), labels.new_zeros(len(labels))
    first = rows.to(torch.int8).argmax(dim=1, keepdim=True)
    return rows.any(dim=1), labels.gather(1, first)[:, 0]


def all_boxes(head: Head, maps: Tensor, image: tuple[int, int]) -> Tensor:
    """Return the box of every anchor of every cell, (B, A, H, W, 4) cxcywh.

    Args:
        head: the head.
        maps: its raw output (B, A, E, H, W), see `Head.maps`.
        image: height and width of the network's input in pixels.
    """
    anchors, height, width = maps.shape[1], maps.shape[3], maps.shape[4]
    a, y, x = (numbers(n, maps) for n in (anchors, height, width))
    cells = Cells(x, y[:, None], a[:, None, None], (height, width), image)
    return head.boxes(maps.movedim(2, -1), cells)


def cell_of(points: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return column and row (N,) of the cells that points (N, 2) lie in.

    A point on the right or lower edge of the image belongs to the last cell. (Darknet writes into
    the next row of the map, or behind the map.)

    Args:
        points: x, y in fractions of the image.
        grid: number of cells (vertical, horizontal).
    """
    size = constant((grid[1], grid[0]), points)
    last = constant((grid[1] - 1, grid[0] - 1), points, torch.int64)
    cells = (points * size).to(torch.int64).clamp_min_(0)
    x, y = torch.minimum(cells, last).unbind(-1)
    return x, y


class Overlap(NamedTuple):
    """What each prediction overlaps most: IoU, and the row of the object in `ObjectRows`."""

    iou: Tensor
    number: Tensor


def best_overlap(predicted: Tensor, objects: ObjectRows) -> Overlap:
    """Return the largest IoU of each prediction with the objects of its image; 0 without any.

    Args:
        predicted: (B, ..., 4) cxcywh in fractions of the network's input.
        objects: the ground truth.

    Returns:
        Tensors (B, ...); of equal overlaps the first object counts.
    """
    shape = predicted.shape[:-1]
    if not objects.by_image.shape[1]:
        return Overlap(predicted.new_zeros(shape), objects.image.new_zeros(shape))
    flat, boxes = predicted.flatten(1, -2), objects.by_image.to(predicted.dtype)
    step = max(1, _LARGEST_TABLE // (flat.shape[1] * boxes.shape[1]))
    parts = zip(flat.split(step), boxes.split(step), strict=True)
    tables = [_largest_iou(mine, theirs) for mine, theirs in parts]
    iou, row = tables[0] if len(tables) == 1 else map(torch.cat, zip(*tables, strict=True))
    number = torch.add(row, numbers(len(row), row)[:, None], alpha=boxes.shape[1])
    return Overlap(iou.view(shape), number.view(shape))


def _largest_iou(predicted: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest IoU (B, N) of boxes (B, N, 4) with boxes (B, M, 4), and its index."""
    low, high, area = (each[..., None, :] for each in _edges(predicted))  # (2, B, 1, N), (B, 1, N)
    their_low, their_high, their_area = (each[..., None] for each in _edges(boxes))
    sides = torch.minimum(high, their_high).sub_(torch.maximum(low, their_low)).clamp_min_(0)
    intersection = sides[0].mul_(sides[1])
    union = (area + their_area).sub_(intersection)
    iou = intersection.div_(union.clamp_min_(torch.finfo(union.dtype).tiny))
    return iou.max(dim=1)


def _edges(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return lower and higher x, y (2, ...) and areas (...) of cxcywh boxes (..., 4)."""
    parts = boxes.movedim(-1, 0).contiguous()  # which is fast on a processor, too
    centre, size = parts[:2], parts[2:]
    low, high = torch.sub(centre, size, alpha=0.5), torch.add(centre, size, alpha=0.5)
    return low, high, size[0] * size[1]


def best_shape(sides: Tensor, wanted: Tensor) -> Tensor:
    """Return which anchor has the largest IoU with each object if both have one centre, (N, 1).

    Args:
        sides: (A, 2) or (N, A, 2), of the anchors.
        wanted: (N, 2), of the objects.
    """
    wanted = wanted[:, None]
    intersection = torch.minimum(sides, wanted).prod(dim=-1)
    union = (sides.prod(dim=-1) + wanted.prod(dim=-1)).sub_(intersection)
    iou = intersection.div_(union.clamp_min_(torch.finfo(union.dtype).tiny))
    return iou.argmax(dim=1, keepdim=True)


def last_row(group: Tensor, count: int) -> Tensor:
    """Return the last row of each group, (count,) int64; -1 for groups without any.

    Args:
        group: (K,) int64, the group of each row.
        count: number of groups.
    """
    none = torch.full((count,), -1, dtype=torch.int64, device=group.device)
    return none.scatter_reduce_(0, group, numbers(len(group), group), "amax")


def first_row(group: Tensor, count: int) -> Tensor:
    """Return the first row of each group, (count,) int64; the number of rows where there is none.

    Args:
        group: (K,) int64, the group of each row.
        count: number of groups.
    """
    none = torch.full((count,), len(group), dtype=torch.int64, device=group.device)
    return none.scatter_reduce_(0, group, numbers(len(group), group), "amin")


def same_place(place: Tensor, there: Tensor, count: int, *, last: bool = False) -> Tensor:
    """Return for each row the first or last one of the same place, (K,) int64; itself for padding.

    Args:
        place: (K,) int64, below `count`.
        there: (K,) bool, False for padding.
        count: number of places.
        last: the last row rather than the first.
    """
    index = place.where(there, constant((count,), place))
    found = (last_row if last else first_row)(index, count + 1)[index]
    return found.where(there, numbers(len(place), place))


def written(into: Tensor, place: Tensor, there: Tensor, value: Tensor | float) -> Tensor:
    """Return a copy of a tensor with other values at some places, equal ones where two are equal.

    Args:
        into: of any shape.
        place: (K,) int64, flat indices into it.
        there: (K,) bool, False for padding, which is not written.
        value: (K,), or a number.
    """
    flat = F.pad(into.flatten(), (0, 1))  # the last one takes the padding
    index = place.where(there, constant((into.numel(),), place))
    made = value.to(flat.dtype) if isinstance(value, Tensor) else value
    return flat.scatter_(0, index, made)[:-1].view(into.shape)
