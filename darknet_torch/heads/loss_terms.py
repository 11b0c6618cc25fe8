"""The terms that losses of heads are sums of.

Each comes with Darknet's delta, which is minus its gradient: `weight * (target - value)`, where the
value is the entry itself or its sigmoid.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "Targets",
    "binary_cross_entropy",
    "focal_factor",
    "half_squared",
    "rows_at",
    "scaled_gradient",
    "working_dtype",
]


class Targets(NamedTuple):
    """What values shall be, and how much each counts; two tensors of one shape."""

    target: Tensor
    weight: Tensor

    def delta(self, value: Tensor) -> Tensor:
        """Return Darknet's delta of a value of that shape."""
        return self.weight * (self.target - value)


def working_dtype(raw: Tensor) -> Tensor:
    """Return the raw output in float32 at least: half precision is too coarse for a loss."""
    return raw if raw.dtype == torch.float64 else raw.float()


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
    _, anchors, _, height, width = maps.shape
    above, x = places // width, places % width
    above, y = above // height, above % height
    entries = maps[above // anchors, above % anchors, :, y, x]
    return entries.where(there[:, None], entries.new_zeros(()))


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
