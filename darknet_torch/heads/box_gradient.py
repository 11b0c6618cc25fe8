"""Overlaps of two boxes as AlexeyAB's Darknet learns from them: IoU, GIoU, DIoU, CIoU.

`BoxPairs.gradient` is what Darknet adds to x, y, w, h of a prediction. It is not the gradient of
any of the overlaps: the intersection of boxes that do not meet is the product of two negative
sides, w and h count twice, and some terms of DIoU and CIoU have the other sign. It is kept so.

What x and y have in common is computed at once, in a last dimension of two: a card takes as long to
launch an operation as to compute it for all boxes of a batch.

Sources: G-IoU (arXiv 1902.09630), D-IoU and C-IoU (arXiv 1911.08287).
"""

import math
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from darknet_torch.heads.base import constant

__all__ = ["BoxPairs", "IouKind", "box_gradient", "overlap"]

IouKind = Literal["mse", "iou", "giou", "diou", "ciou"]

_LEAST = 1e-6
"""Added to the denominator of CIoU's factor."""


def overlap(kind: IouKind, predicted: Tensor, truth: Tensor) -> Tensor:
    """Return the overlap (...) of cxcywh boxes (..., 4), pair by pair.

    Args:
        kind: of overlap; "mse" is IoU.
        predicted: the boxes that a network predicts.
        truth: the boxes that they shall have.
    """
    return BoxPairs(torch.stack((predicted, truth))).overlap(kind)


def box_gradient(kind: IouKind, predicted: Tensor, truth: Tensor) -> Tensor:
    """Return what Darknet adds to x, y, w, h of predictions, (..., 4).

    Args:
        kind: of overlap: "iou", "giou", "diou" or "ciou".
        predicted: cxcywh boxes (..., 4).
        truth: cxcywh boxes (..., 4).
    """
    return BoxPairs.of_training(predicted, truth).gradient(kind)[0]


class BoxPairs:
    """Predicted and true boxes, pair by pair; what several results need is computed once.

    Args:
        boxes: (2, ..., 4) cxcywh, the predicted and the true ones.
    """

    def __init__(self, boxes: Tensor) -> None:
        self._boxes = boxes.unflatten(-1, (2, 2))  # (2, ..., centre or size, x or y)
        centre, size = self._boxes[..., :1, :], self._boxes[..., 1:, :]
        self._corners = torch.addcmul(centre, size, constant(((-0.5,), (0.5,)), boxes))
        predicted, truth = self._corners.unbind()
        inner_low, outer_high = torch.maximum(predicted, truth).unbind(-2)
        outer_low, inner_high = torch.minimum(predicted, truth).unbind(-2)
        self._inner = inner_high - inner_low  # sides (..., 2) of the intersection
        self._outer = outer_high - outer_low  # of the smallest box around both

    @classmethod
    def of_training(cls, predicted: Tensor, truth: Tensor) -> "BoxPairs":
        """Return pairs (2, ...): for `gradient`, where sizes of 0 are 1, and for `overlap`.

        Args:
            predicted: cxcywh boxes (..., 4).
            truth: cxcywh boxes (..., 4).
        """
        is_zero, of_size = predicted == 0, constant((0.0, 0.0, 1.0, 1.0), predicted)
        sized = torch.addcmul(predicted, is_zero, of_size)
        return cls(torch.stack((sized, predicted, truth, truth)).unflatten(0, (2, 2)))

    @cached_property
    def _sides(self) -> Tensor:
        """Sides (2, ..., 2) of both."""
        low, high = self._corners.unbind(-2)
        return high - low

    @cached_property
    def _areas(self) -> Tensor:
        """Sum of both areas, (...)."""
        return self._sides.prod(dim=-1).sum(dim=0)

    @cached_property
    def _diagonal(self) -> tuple[Tensor, Tensor]:
        """Squared diagonal (...) of the box around both, and squared distance of the centres."""
        predicted, truth = self._boxes.select(-2, 0).unbind()
        shift = truth - predicted
        diagonal, distance = torch.stack((self._outer, shift)).square().sum(dim=-1)
        return diagonal, distance

    @cached_property
    def _aspect(self) -> tuple[Tensor, Tensor]:
        """CIoU's measure v (...) of the difference in shape, and the difference of the angles."""
        width, height = self._boxes.select(-2, 1).unbind(-1)
        predicted, truth = torch.atan(width / height)
        difference = truth - predicted
        return difference.square().mul_(4 / math.pi**2), difference

    @cached_property
    def _plain(self) -> tuple[Tensor, Tensor]:
        """IoU (...), 0 where there is no area, and the union."""
        intersection = self._inner.clamp_min(0).prod(dim=-1)
        union = self._areas - intersection
        return intersection / union.clamp_min(torch.finfo(union.dtype).tiny), union

    def overlap(self, kind: IouKind) -> Tensor:
        """Return the overlap (...); "mse" is IoU."""
        plain, union = self._plain
        if kind in ("mse", "iou"):
            return plain
        if kind == "giou":
            enclosing = self._outer.prod(dim=-1)
            penalty = (enclosing - union) / enclosing
            return torch.where(enclosing == 0, plain, plain - penalty)
        diagonal, distance = self._diagonal
        penalty = distance / diagonal
        if kind == "diou":
            return torch.where(diagonal == 0, plain, plain - penalty.pow(0.6))
        v, _ = self._aspect
        penalty = penalty.addcdiv_(v.square(), (v - plain).add_(1 + _LEAST))
        return torch.where(diagonal == 0, plain, plain - penalty)

    def gradient(self, kind: IouKind) -> Tensor:
        """Return what Darknet adds to x, y, w, h of the predictions, (..., 4); not of "mse"."""
        intersection = self._inner.prod(dim=-1)
        union = self._areas - intersection
        # derivatives by the low and high x, y of: the predicted area, I, the enclosing C
        sides = torch.stack((self._sides[0], self._inner, self._outer)).flip(-1)[..., None, :]
        area, inner, outer = sides * constant(((-1,), (1,)), sides)  # (..., 2, 2) each
        beyond = (self._corners[1] - self._corners[0]).mul_(constant(((1,), (-1,)), area))
        outside = beyond > 0
        inner = inner.mul_(beyond < 0)
        union_change = area - inner  # the derivatives of the union
        ratio, u = intersection / union, union[..., None, None]
        q = torch.addcmul(inner, ratio[..., None, None], union_change, value=-1).div_(u)
        q = torch.where(u > 0, q, constant((0.0,), q))
        apart = (self._inner <= 0).any(dim=-1)[..., None, None]
        if kind == "giou":
            c = self._outer.prod(dim=-1)[..., None, None]
            enclosing = (c * union_change).addcmul_(u, outer.mul_(outside), value=-1).div_(c * c)
            q = torch.where(c > 0, torch.where(apart, enclosing, q + enclosing), q)
        d = _centre_and_size(q)
        if kind in ("diou", "ciou"):
            e = self._distance_terms(outside)
            if kind == "ciou":
                self._add_shape_terms(e, ratio)
            d = torch.where(apart, e, d + e)
        return d.flatten(-2)

    def _distance_terms(self, outside: Tensor) -> Tensor:
        """Return the terms of the distance of the centres, (..., 2, 2), Darknet's signs.

        Args:
            outside: (..., 2, 2) bool, where the low and the high x, y of a prediction lie beyond
                those of the truth.
        """
        diagonal, distance = (each[..., None, None] for each in self._diagonal)
        shift = self._boxes[1, ..., :1, :] - self._boxes[0, ..., :1, :]
        low, high = outside[..., :1, :].to(shift.dtype), outside[..., 1:, :]
        factor = high * constant(((-2,), (1,)), shift)  # of x, y and of w, h
        factor = factor.addcmul_(low, constant(((2,), (1,)), shift))
        terms = factor.mul_(self._outer[..., None, :] * distance)
        terms[..., :1, :].addcmul_(shift, diagonal, value=2)
        return terms.div_(diagonal * diagonal)

    def _add_shape_terms(self, terms: Tensor, ratio: Tensor) -> None:
        """Add the terms of the shape to terms (..., 2, 2); `ratio` (...) is I / U."""
        v, difference = self._aspect
        factor = (v * difference).div_((v - ratio).add_(1 + _LEAST))
        scale = 8 / math.pi**2
        height_and_width = self._boxes[0, ..., 1, :].flip(-1)
        signed = height_and_width.mul_(constant((scale, -scale), v))
        terms[..., 1, :].addcmul_(factor[..., None], signed)


def _centre_and_size(edges: Tensor) -> Tensor:
    """Return low + high and high - low of edges (..., 2, 2), in this order."""
    return torch.addcmul(edges[..., 1:, :], edges[..., :1, :], constant(((1,), (-1,)), edges))
