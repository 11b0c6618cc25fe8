"""The terms that losses of heads are sums of.

Each comes with Darknet's delta, which is minus its gradient: `weight * (target - value)`, where the
value is the entry itself or its sigmoid.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_torch.heads.base import constant

__all__ = [
    "Given",
    "Targets",
    "binary_cross_entropy",
    "entry_index",
    "focal_factor",
    "given_gradients",
    "half_squared",
    "rows_at",
    "scaled_gradient",
]


class Targets(NamedTuple):
    """What values shall be, and how much each counts; two tensors of one shape."""

    target: Tensor
    weight: Tensor

    def delta(self, value: Tensor) -> Tensor:
        """Return Darknet's delta of a value of that shape."""
        return self.weight * (self.target - value)

    def gradient(self, value: Tensor) -> Tensor:
        """Return minus that."""
        return torch.sub(value, self.target).mul_(self.weight)


class Given(NamedTuple):
    """One part of a loss, and its gradient.

    Attributes:
        value: () what it is.
        gradient: of any shape.
        where: the entry (B, A, H, W) that the gradient is of; or its flat indices into the maps.
    """

    value: Tensor
    gradient: Tensor
    where: int | Tensor


def scaled_gradient(values: Tensor, factor: float) -> Tensor:
    """Return values whose gradient is multiplied by a factor on its way back."""
    if factor == 1 or not values.requires_grad:
        return values
    scaled = values.view_as(values)
    scaled.register_hook(lambda gradient: gradient * factor)
    return scaled


def rows_at(maps: Tensor, places: Tensor, there: Tensor) -> Tensor:
    """Return the entries (P, E) of some anchors.

    Args:
        maps: raw output (B, A, E, H, W).
        places: (P,) int64, flat indices into (B, A, H, W).
        there: (P,) bool, False for rows that shall be zeros, and without gradient.
    """
    index = entry_index(maps, places)
    entries = maps.flatten().index_select(0, index.flatten()).view(index.shape)
    return entries.where(there[:, None], constant((0.0,), entries))


def entry_index(maps: Tensor, places: Tensor) -> Tensor:
    """Return where the entries of some anchors are, (P, E) int64, flat indices into the maps.

    Args:
        maps: raw output (B, A, E, H, W).
        places: (P,) int64, flat indices into (B, A, H, W).
    """
    entries, cells = maps.shape[2], maps.shape[3] * maps.shape[4]
    above = torch.div(places, cells, rounding_mode="floor")
    first = torch.add(places, above, alpha=(entries - 1) * cells)
    return first[:, None] + constant(range(0, entries * cells, cells), first)


def given_gradients(maps: Tensor, parts: Mapping[str, Given]) -> dict[str, Tensor]:
    """Return the parts of a loss, () each, with a gradient that is computed in few operations.

    Args:
        maps: raw output (B, A, E, H, W).
        parts: by their names, computed without gradient.
    """
    values, gradients, where = zip(*parts.values(), strict=True)
    found = _GivenGradients.apply(maps, where, gradients, *values)  # type: ignore[no-untyped-call]
    return dict(zip(parts, found, strict=True))


class _GivenGradients(torch.autograd.Function):
    """Its forward pass returns numbers that are there, its backward pass scales gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        maps: Tensor,
        where: Sequence[int | Tensor],
        gradients: Sequence[Tensor],
        *values: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.shape, ctx.where, ctx.gradients = maps.shape, where, gradients
        return torch.stack(values).unbind()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        every = outer[0].new_zeros(ctx.shape)
        for where, gradient, factor in zip(ctx.where, ctx.gradients, outer, strict=True):
            if isinstance(where, int):
                every[:, :, where].addcmul_(gradient, factor)
            else:
                every.view(-1).index_add_(0, where.flatten(), (gradient * factor).flatten())
        return every, None, None, *[None] * len(outer)


def binary_cross_entropy(entries: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the sum of the binary cross-entropy of logits; the delta is in the sigmoid's value."""
    return F.binary_cross_entropy_with_logits(entries, target, weight, reduction="sum")


def half_squared(value: Tensor, target: Tensor | float, weight: Tensor | float) -> Tensor:
    """Return the sum of `weight * (value - target) ** 2 / 2`."""
    return ((value - target).square() * (weight / 2)).sum()


def focal_factor(probability: Tensor) -> Tensor:
    """Return the factor of the focal loss, alpha 0.5, gamma 2, for the true class's probability.

    Source: arXiv 1708.02002, in Darknet's form: it multiplies the gradient of the cross-entropy.
    """
    p = probability + 1e-15
    return -0.5 * (1 - p) * (2 * p * p.log() + p - 1)
