"""From ground truth to targets: the objects of a batch, their cells, the anchors that match them.

Darknet goes through the objects one after the other and writes into one array, so that a later
object overwrites what an earlier one wrote at the same anchor. Here all objects are handled at
once; `last_row` and `first_row` say which one Darknet would have left there.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from darknet_torch.heads.base import Cells, Head
from darknet_torch.layers.truth import Truth

__all__ = [
    "ObjectRows",
    "Overlap",
    "all_boxes",
    "best_overlap",
    "cell_of",
    "class_only",
    "first_row",
    "last_row",
    "objects_of",
]

_LARGEST_TABLE = 1 << 24
"""Overlaps of predictions and objects that are in memory at once."""


class ObjectRows(NamedTuple):
    """The N objects of a batch that have a box, image by image, in the order of their rows.

    Attributes:
        image: (N,) int64, index of the image.
        row: (N,) int64, index of the object among those of its image.
        boxes: (N, 4) cxcywh in fractions of the network's input.
        class_id: (N,) int64, after the class map; -1 if it is none of the head's classes.
        label: (N,) int64, the class before the class map.
        by_image: (B, M, 4), the boxes of each image; rows without an object are zeros.
        number: (B, M) int64, the row of each in the tensors (N, ...).
    """

    image: Tensor
    row: Tensor
    boxes: Tensor
    class_id: Tensor
    label: Tensor
    by_image: Tensor
    number: Tensor


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
        keep_unknown: keep objects of other classes among the N; `by_image` has none of them.
    """
    labels, boxes = truth.class_id[:, :most], truth.boxes[:, :most]
    known = (labels >= 0) & (labels < min(classes, len(class_map or range(classes))))
    has_box = truth.valid[:, :most] & truth.has_box[:, :most]
    kept = has_box if keep_unknown else has_box & known
    image, row = kept.nonzero(as_tuple=True)
    width = int(row.max()) + 1 if len(row) else 0
    number = torch.zeros_like(labels[:, :width])
    number[image, row] = torch.arange(len(row), device=row.device)
    label = labels[image, row]
    mapped = label.where(known[image, row], torch.full_like(label, -1))
    if class_map is not None:
        table = torch.tensor((*class_map, -1), device=label.device)  # the last is that of -1
        mapped = table[mapped]
    by_image = boxes[:, :width] * (has_box & known)[:, :width, None]
    return ObjectRows(image, row, boxes[image, row], mapped, label, by_image, number)


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
    a, y, x = (torch.arange(n, device=maps.device) for n in (anchors, height, width))
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
    height, width = grid
    x, y = (points * points.new_tensor((width, height))).to(torch.int64).unbind(-1)
    return x.clamp(0, width - 1), y.clamp(0, height - 1)


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
        return Overlap(predicted.new_zeros(shape), objects.number.new_zeros(shape))
    flat = predicted.flatten(1, -2)
    step = max(1, _LARGEST_TABLE // (flat.shape[1] * objects.by_image.shape[1]))
    iou, row = (
        torch.cat(parts)
        for parts in zip(
            *(
                _largest_iou(mine, theirs)
                for mine, theirs in zip(
                    flat.split(step), objects.by_image.to(flat.dtype).split(step), strict=True
                )
            ),
            strict=True,
        )
    )
    return Overlap(iou.view(shape), objects.number.gather(1, row).view(shape))


def _largest_iou(predicted: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest IoU (B, N) of boxes (B, N, 4) with boxes (B, M, 4), and its index."""
    x, y, w, h = (each[:, None] for each in predicted.unbind(-1))  # (B, 1, N)
    tx, ty, tw, th = (each[:, :, None] for each in boxes.unbind(-1))  # (B, M, 1)
    wide = torch.minimum(x + w / 2, tx + tw / 2).sub_(torch.maximum(x - w / 2, tx - tw / 2))
    high = torch.minimum(y + h / 2, ty + th / 2).sub_(torch.maximum(y - h / 2, ty - th / 2))
    intersection = wide.clamp_min_(0).mul_(high.clamp_min_(0))
    union = (w * h + tw * th).sub_(intersection)
    iou = intersection.div_(union.clamp_min_(torch.finfo(union.dtype).tiny))
    return iou.max(dim=1)


def last_row(group: Tensor, count: int) -> Tensor:
    """Return the last row of each group, (count,) int64; -1 for groups without any.

    Args:
        group: (K,) int64, the group of each row.
        count: number of groups.
    """
    none = torch.full((count,), -1, dtype=torch.int64, device=group.device)
    return none.scatter_reduce(0, group, torch.arange(len(group), device=group.device), "amax")


def first_row(group: Tensor, count: int) -> Tensor:
    """Return the first row of each group, (count,) int64; the number of rows where there is none.

    Args:
        group: (K,) int64, the group of each row.
        count: number of groups.
    """
    none = torch.full((count,), len(group), dtype=torch.int64, device=group.device)
    return none.scatter_reduce(0, group, torch.arange(len(group), device=group.device), "amin")
