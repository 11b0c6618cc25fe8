"""Overlaps of two boxes as AlexeyAB's Darknet learns from them: IoU, GIoU, DIoU, CIoU.

`box_gradient` is what Darknet adds to x, y, w, h of a prediction. It is not the gradient of any of
the overlaps: the intersection of boxes that do not meet is the product of two negative sides, w and
h count twice, and some terms of DIoU and CIoU have the other sign. It is kept as it is.

Sources: G-IoU (arXiv 1902.09630), D-IoU and C-IoU (arXiv 1911.08287).
"""

import math
from typing import Literal

import torch
from torch import Tensor

from darknet_torch.heads.boxes import cxcywh_to_xyxy, enclosing_diagonal, iou

__all__ = ["IouKind", "box_gradient", "overlap"]

IouKind = Literal["mse", "iou", "giou", "diou", "ciou"]


def overlap(kind: IouKind, predicted: Tensor, truth: Tensor) -> Tensor:
    """Return the overlap (...) of cxcywh boxes (..., 4), pair by pair.

    Args:
        kind: of overlap; "mse" is IoU.
        predicted: the boxes that a network predicts.
        truth: the boxes that they shall have.
    """
    a, b = cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(truth)
    plain = iou(a, b)
    if kind in ("mse", "iou"):
        return plain
    if kind == "giou":
        enclosing = (torch.maximum(a, b)[..., 2:] - torch.minimum(a, b)[..., :2]).prod(dim=-1)
        areas = predicted[..., 2:].prod(dim=-1) + truth[..., 2:].prod(dim=-1)
        penalty = (enclosing - areas / (1 + plain)) / enclosing  # areas / (1 + IoU): the union
        return torch.where(enclosing == 0, plain, plain - penalty)
    diagonal = enclosing_diagonal(a, b)
    distance = (predicted - truth)[..., :2].square().sum(dim=-1) / diagonal
    if kind == "diou":
        return torch.where(diagonal == 0, plain, plain - distance.pow(0.6))
    shape, _ = _aspect(predicted, truth)
    penalty = distance + shape.square() / (1 - plain + shape + 1e-6)
    return torch.where(diagonal == 0, plain, plain - penalty)


def _aspect(predicted: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return CIoU's measure v of the difference in shape, and the difference of the angles."""
    angle = [torch.atan(box[..., 2] / box[..., 3]) for box in (truth, predicted)]
    difference = angle[0] - angle[1]
    return 4 / math.pi**2 * difference.square(), difference


def box_gradient(kind: IouKind, predicted: Tensor, truth: Tensor) -> Tensor:
    """Return what Darknet adds to x, y, w, h of predictions, (..., 4).

    Args:
        kind: of overlap: "iou", "giou", "diou" or "ciou".
        predicted: cxcywh boxes (..., 4).
        truth: cxcywh boxes (..., 4).
    """
    predicted = torch.cat(
        (predicted[..., :2], predicted[..., 2:].masked_fill(predicted[..., 2:] == 0, 1.0)), dim=-1
    )
    pl, pt, pr, pb = cxcywh_to_xyxy(predicted).unbind(-1)
    tl, tt, tr, tb = cxcywh_to_xyxy(truth).unbind(-1)
    zero = torch.zeros_like(pl)
    iw, ih = (
        torch.minimum(pr, tr) - torch.maximum(pl, tl),
        torch.minimum(pb, tb) - torch.maximum(pt, tt),
    )
    cw, ch = (
        torch.maximum(pr, tr) - torch.minimum(pl, tl),
        torch.maximum(pb, tb) - torch.minimum(pt, tt),
    )
    i = iw * ih
    u = (pb - pt) * (pr - pl) + (tb - tt) * (tr - tl) - i
    # derivatives by left, top, right, bottom of: the predicted area, I, the union, the enclosing C
    dx = torch.stack((-(pb - pt), -(pr - pl), pb - pt, pr - pl), dim=-1)
    di = torch.stack(
        (
            torch.where(pl > tl, -ih, zero),
            torch.where(pt > tt, -iw, zero),
            torch.where(pr < tr, ih, zero),
            torch.where(pb < tb, iw, zero),
        ),
        dim=-1,
    )
    du = dx - di
    outside = torch.stack((pl < tl, pt < tt, pr > tr, pb > tb), dim=-1)
    apart = (iw <= 0) | (ih <= 0)
    u, i = u[..., None], i[..., None]
    q = torch.where(u > 0, (u * di - i * du) / u.square(), torch.zeros_like(di))
    if kind == "giou":
        dc = torch.stack((-ch, -cw, ch, cw), dim=-1) * outside
        c = (cw * ch)[..., None]
        enclosing = (c * du - u * dc) / c.square()
        q = torch.where(c > 0, torch.where(apart[..., None], enclosing, q + enclosing), q)
    ql, qt, qr, qb = q.unbind(-1)
    d = torch.stack((ql + qr, qt + qb, qr - ql, qb - qt), dim=-1)
    if kind in ("diou", "ciou"):
        ratio = (i / u)[..., 0]
        e = _distance_terms(predicted, truth, cw, ch, outside)
        if kind == "ciou":
            e = e + _shape_terms(predicted, truth, ratio)
        d = torch.where(apart[..., None], e, d + e)
    return d


def _distance_terms(
    predicted: Tensor, truth: Tensor, cw: Tensor, ch: Tensor, outside: Tensor
) -> Tensor:
    """Return the terms of the distance of the centres, (..., 4), Darknet's signs."""
    shift = truth[..., :2] - predicted[..., :2]
    side = torch.stack((cw, ch), dim=-1)
    diagonal = side.square().sum(dim=-1, keepdim=True)
    distance = shift.square().sum(dim=-1, keepdim=True)
    low, high = outside[..., :2].to(side.dtype), outside[..., 2:].to(side.dtype)
    xy = 2 * shift * diagonal - 2 * side * (high - low) * distance
    wh = 2 * side * (high + low) / 2 * distance
    return torch.cat((xy, wh), dim=-1) / diagonal.square()


def _shape_terms(predicted: Tensor, truth: Tensor, ratio: Tensor) -> Tensor:
    """Return the terms of the shape, (..., 4); `ratio` (...) is I / U."""
    v, difference = _aspect(predicted, truth)
    factor = v / (1 - ratio + v + 1e-6) * 8 / math.pi**2 * difference
    zero = torch.zeros_like(factor)
    return torch.stack(
        (zero, zero, factor * predicted[..., 3], -factor * predicted[..., 2]), dim=-1
    )
